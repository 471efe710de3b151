"""``kit worker``: let this box make cells for others."""

from __future__ import annotations

import dataclasses

import click

from kit.cli.opening import config_texts, run_config, session_of
from kit.cli.output import Result
from kit.cluster.security import link
from kit.options.click_options import texts
from kit.options.run_table import RUN_COMMANDS, effective


@click.command()
@texts(*effective("worker"), RUN_COMMANDS["config_file"])
def worker(**given: str | None) -> Result:
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
        # the client decides about quality points and about a verdict
        config = dataclasses.replace(run_config(named, file, out_dir=folder, remembered={}), cqs=(), shard_only=True)
        scheduler = link(config)
        if scheduler is None:
            raise click.UsageError("--scheduler is missing: the address of a Dask scheduler.")
        session = session_of(config)
        remove_abandoned(scratch_folders())
        examined = examine(config, session)
        step_01_prereqs.show(examined)
        prereqs = examined.prereqs()
        if prereqs is None:
            raise step_01_prereqs.failure(examined)
        serve(config, prereqs, scheduler, folder, session)
    return Result()
