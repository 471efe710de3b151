"""Sign a bundle's manifest with an SSH key and verify the signature, with ``ssh-keygen -Y``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from kit.core import layout
from kit.core.errors import BadInput, CheckFailed, PrerequisiteFailed, ToolFailed
from kit.system.fsio import scratch_folder
from kit.system.proc import Processes

#: The signature's purpose; signatures of the same key for other purposes are not accepted.
NAMESPACE = "vmaf-ensemble-bundle"
_TIMEOUT = 60.0
_ASK = "Ask the sender for the bundle and the public key again."


def _tool() -> str:
    path = shutil.which("ssh-keygen")
    if path is None:
        raise PrerequisiteFailed("ssh-keygen is not installed", hint="Install OpenSSH's client, or omit the option.")
    return path


def sign(data: bytes, key: Path, processes: Processes) -> bytes:
    """Return the signature of a manifest.

    Args:
        key: the private key, or the public part of a key in ssh-agent.

    Raises:
        BadInput: ssh-keygen cannot use the key.
        PrerequisiteFailed: ssh-keygen is not installed.
    """
    if not key.is_file():
        raise BadInput(f"--sign: {key.name} does not exist", hint="Give the path of an SSH key.")
    with scratch_folder() as folder:
        manifest = folder / layout.MANIFEST
        manifest.write_bytes(data)
        argv = (_tool(), "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(manifest))
        try:
            processes.run(argv, tried="signing the manifest", timeout=_TIMEOUT)
        except ToolFailed as error:
            hint = "Add a key with a passphrase to ssh-agent first."
            raise BadInput(f"--sign: {error.message}", hint=hint) from error
        return (folder / layout.SIGNATURE).read_bytes()


def signer(manifest: Path, allowed: Path, processes: Processes) -> str:
    """Return the name of the signer as the file of allowed signers has it.

    Raises:
        BadInput: the file of allowed signers does not exist.
        CheckFailed: an unknown signer, or the signature of another manifest.
    """
    if not allowed.is_file():
        raise BadInput(f"--allowed-signers: {allowed} does not exist", hint="Give a file of ssh-keygen -Y.")
    signature = manifest.with_name(layout.SIGNATURE)
    tool = _tool()
    try:
        principals = processes.run(
            (tool, "-Y", "find-principals", "-s", str(signature), "-f", str(allowed)),
            tried="looking for the signer",
            timeout=_TIMEOUT,
        )
        names = principals.stdout.decode("utf-8", "replace").split()
        if not names:
            raise CheckFailed("the signing key is not in --allowed-signers", hint=_ASK)
        # the tool reads the signed data from stdin
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
        raise CheckFailed(f"the signature is invalid: {reason}", hint=_ASK) from error
    return names[0]
