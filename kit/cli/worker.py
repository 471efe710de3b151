"""``kit worker``: let this box make cells for others."""

from __future__ import annotations

import dataclasses

import click

from kit.cli.opening import config_texts, run_config, session_of
from kit.cli.output import Outcome
from kit.cluster.security import link
from kit.core import exits
from kit.options.click_options import texts
from kit.options.run_table import RUN_COMMANDS, effective


@click.command()
@texts(*effective("worker"), RUN_COMMANDS["config_file"])
def worker(**given: str | None) -> Outcome:
    """Make cells for `corpus --scheduler` on this box.

    The box is examined as before a run, then makes cells until Ctrl-C or until the scheduler ends; other workers
    take over unfinished cells. Without certificates it serves this machine only.
    """
    from kit.cluster.worker import serve
    from kit.prereqs.examine import examine
    from kit.steps import step_01_prereqs
    from kit.system.fsio import remove_abandoned, scratch_folder, scratch_folders

    named, file = config_texts(given)
    with scratch_folder() as folder:
        asked = run_config(named, file, out_dir=folder, remembered={})
        way = link(asked)
        if way is None:
            raise click.UsageError("--scheduler is missing: the address of a Dask scheduler.")
        # quality points are the client's business, and so is a verdict
        here = dataclasses.replace(asked, cqs=(), shard_only=True)
        session = session_of(here)
        remove_abandoned(scratch_folders())
        seen = examine(here, session)
        step_01_prereqs.show(seen)
        found = seen.prereqs()
        if found is None:
            raise step_01_prereqs.failure(seen)
        serve(here, found, way, folder, session)
    return Outcome(code=exits.OK)
