"""A bundle signed with an SSH key: ``ssh-keygen -Y``, an existing tool, over the manifest."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from kit.core import layout
from kit.core.errors import BadInput, CheckFailed, PrerequisiteFailed, ToolFailed
from kit.system.fsio import scratch_folder
from kit.system.proc import Processes

#: What the signature is for; another one made with the same key says nothing of a bundle.
NAMESPACE = "vmaf-ensemble-bundle"
_TIMEOUT = 60.0


def _tool() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise PrerequisiteFailed(
            "ssh-keygen is not installed", hint="Install OpenSSH's client, or leave the option out."
        )
    return found


def sign(data: bytes, key: Path, processes: Processes) -> bytes:
    """The signature of a manifest.

    Args:
        key: the private key, or the public one of a key that an agent holds.

    Raises:
        BadInput: ssh-keygen does not take the key.
        PrerequisiteFailed: there is no ssh-keygen.
    """
    if not key.is_file():
        raise BadInput("--sign: there is no such file", hint="Give the path of an SSH key.")
    with scratch_folder() as folder:
        manifest = folder / layout.MANIFEST
        manifest.write_bytes(data)
        argv = (_tool(), "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(manifest))
        try:
            processes.run(argv, tried="signing the manifest", timeout=_TIMEOUT)
        except ToolFailed as error:
            hint = "A key with a passphrase is signed with through ssh-agent."
            raise BadInput(f"--sign: {error.message}", hint=hint) from error
        return (folder / layout.SIGNATURE).read_bytes()


def signer(manifest: Path, allowed: Path, processes: Processes) -> str:
    """Who signed a manifest, in the words of the file of allowed signers.

    Raises:
        BadInput: there is no such file.
        CheckFailed: nobody of them did, or what was signed is another manifest.
    """
    if not allowed.is_file():
        raise BadInput(f"--allowed-signers {allowed}: there is no such file")
    signature = manifest.with_name(layout.SIGNATURE)
    tool = _tool()
    try:
        found = processes.run(
            (tool, "-Y", "find-principals", "-s", str(signature), "-f", str(allowed)),
            tried="looking for the signer",
            timeout=_TIMEOUT,
        )
        names = found.stdout.decode("utf-8", "replace").split()
        if not names:
            raise CheckFailed("the key is none of the allowed signers'")
        # the tool reads what was signed from stdin
        argv = (
            "/bin/sh",
            "-c",
            'exec "$0" -Y verify -f "$1" -I "$2" -n "$3" -s "$4" < "$5"',
            tool,
            str(allowed),
            names[0],
            NAMESPACE,
            str(signature),
            str(manifest),
        )
        processes.run(argv, tried="checking the signature", timeout=_TIMEOUT)
    except ToolFailed as error:
        reason = re.sub(r"\s+", " ", error.stderr_tail or error.stdout or error.status)
        raise CheckFailed(f"the signature does not hold: {reason}") from error
    return names[0]
