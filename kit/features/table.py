"""Feature tables: one row per frame of a distorted clip, in Parquet. The tiny heads are fitted to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.core import contract
from kit.core.canon import canonical_json, sha256_json
from kit.core.errors import BadInput, CheckFailed, Missing
from kit.core.graph import components
from kit.core.inputs import DEFAULT_INPUTS, Inputs
from kit.core.values import Teacher
from kit.corpus.store import shard as shards
from kit.corpus.store.planned import shard_folder
from kit.system.fsio import atomic_path
from kit.system.ui import counted
from kit.training.folds import Fold
from kit.training.table import Rows

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns that name a clip. With the frame index they are the key of a row, and rows are sorted by it.
CLIP = ("corpus", "source", "clip")
KEY = (*CLIP, "frame_index")
#: Content group of a source, named by its data set. One name means the same content in every corpus.
GROUP = "group"
#: Identity of a source: SHA-256 of its geometry and decoded frames, as in a shard.
CONTENT = "src_sha256"
#: Text columns. The last three are null where unknown.
TEXTS = (*CLIP, GROUP, CONTENT, "codec", "teacher")
#: Columns of every table besides features and targets.
LABELS = (*KEY, GROUP, CONTENT, "codec", "teacher")
TARGETS = ("vmaf", "mos")
FOLD = "fold"
_CONTENT_NAMES = ("source", GROUP, CONTENT)
#: Facts about the rows in the metadata of a file; :func:`read` checks the hash.
FACTS = ("table_sha256", "features", "teacher", "corpora")
_NULLABLE = (CONTENT, "codec", "teacher", FOLD)
_LISTED_AT_MOST = 4
_VERSION = b"vmaf_kit.feature_table"
_HINT = "Make a table with `extract-features` or `combine`."


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """Rows in order of ``KEY``, each key once.

    Attributes:
        frame: the columns ``corpus, source, clip, frame_index, group, src_sha256, codec, teacher``, features
            (float64), ``vmaf``, and where they are known ``mos`` and ``fold``.
        features: names of the feature columns.
        merged_groups: group name to the name of the content group it is held out with, see :attr:`groups`.
    """

    frame: pd.DataFrame
    features: tuple[str, ...]
    merged_groups: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def teacher(self) -> Teacher | None:
        """Return the model that computed ``vmaf``; None where unknown."""
        (teacher,) = self.frame["teacher"].unique()
        return None if pd.isna(teacher) else Teacher.of_text(teacher)

    @cached_property
    def sha256(self) -> str:
        """Hash labels, features and targets of every row."""
        digest = hashlib.sha256(canonical_json(list(self.frame.columns)))
        for name in self.frame.columns:
            column = self.frame[name]
            values = pd.util.hash_array(column.to_numpy(object), categorize=True) if name in {*TEXTS, FOLD} else column
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def rows(self, target: str = "vmaf", inputs: Inputs = DEFAULT_INPUTS) -> Rows:
        """Return the features of a network and a target as training rows.

        Raises:
            BadInput: the table lacks the target or one of the features.
            CheckFailed: one of these values is missing or not finite.
        """
        if lacking := [name for name in (*inputs.features, target) if name not in self.frame]:
            raise BadInput(
                f"the table has no column {', '.join(lacking)}; its columns are {', '.join(self.frame.columns)}",
                hint="`join-mos` adds subjective scores." if lacking == ["mos"] else _HINT,
            )
        numbers = self.frame[[*inputs.features, target]]
        with np.errstate(over="ignore"):  # becomes an infinity, which is reported below
            values = numbers.to_numpy(np.float32)
        if (missing := numbers.isna()).any(axis=None):
            rows, lacking = missing.any(axis=1), numbers.columns[missing.any()]
            raise CheckFailed(
                f"{int(rows.sum())} of {counted(len(self), 'row')} lack {', '.join(lacking)}, "
                f"first: {_first_row(self.frame[rows])}",
                hint="Run `combine` again without --fill-missing, and leave out the tables that lack these columns.",
            )
        if (wrong := np.isinf(values).any(axis=1)).any():
            raise CheckFailed(
                f"a value of {', '.join(numbers.columns)} is not finite in float32: {_first_row(self.frame[wrong])}",
                hint=_HINT,
            )
        return Rows(
            inputs=inputs,
            features=np.ascontiguousarray(values[:, :-1]),
            codec=np.zeros((len(self), inputs.codec_width), dtype=np.float32),
            target=values[:, -1].copy(),
        )

    def clips(self) -> Iterator[tuple[str, slice]]:
        """Yield every clip as ``corpus/source/clip`` with its rows, in order."""
        first = np.flatnonzero(self.frame["frame_index"].to_numpy() == 0).tolist()
        for begin, end in pairwise([*first, len(self)]):
            yield "/".join(self.frame.iloc[begin][list(CLIP)]), slice(begin, end)

    @cached_property
    def sources(self) -> NDArray[np.str_]:
        """``corpus/source`` of each row."""
        names: NDArray[np.str_] = (self.frame["corpus"] + "/" + self.frame["source"]).to_numpy(str)
        return names

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """Content group of each row; a group is held out as a whole.

        Groups of any corpora that share a name, a source name or a source hash are one group, named by the smallest
        of their names: the same film in training and in the held-out fold would spoil the evidence, one fold fewer
        costs little.
        """
        names: NDArray[np.str_] = self.frame[GROUP].map(self.merged_groups).to_numpy(str)
        return names

    def names(self, rows: NDArray[np.bool_]) -> list[str]:
        """Return names of groups, names of sources and hashes of sources of some rows, sorted."""
        return sorted({name for column in _CONTENT_NAMES for name in self.frame[column][rows].dropna().unique()})

    def with_content(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Mark the rows whose content has one of these names or hashes, see :meth:`names`."""
        named = self.frame[list(_CONTENT_NAMES)].isin(names).any(axis=1).to_numpy()
        marked: NDArray[np.bool_] = np.isin(self.groups, self.groups[named])
        return marked

    def members(self, rows: NDArray[np.bool_] | None = None) -> dict[str, list[str]]:
        """Return the sorted sources of each content group, of some rows or of all."""
        pairs = pd.DataFrame({"group": self.groups, "source": self.sources})
        kept = (pairs if rows is None else pairs[rows]).drop_duplicates()
        return {str(name): sorted(sources) for name, sources in kept.groupby("group")["source"]}

    def only(self, kept: NDArray[np.bool_]) -> FeatureTable:
        """Return a table of some of the rows."""
        return replace(self, frame=self.frame[kept].reset_index(drop=True))

    def folds(self, labels: Sequence[str] | NDArray[np.str_]) -> tuple[Fold, ...]:
        """Return one fold per label of the rows, in order of the labels.

        Raises:
            BadInput: fewer than two labels, or a content group in more than one fold.
        """
        label = np.asarray(labels, dtype=np.str_)
        names = sorted(set(label.tolist()))
        if len(names) < 2:
            raise BadInput(
                f"expected at least two folds, the rows are in {len(names)}: {', '.join(names) or 'no row'}",
                hint="Give a column with two or more values, or a table with more sources.",
            )
        pairs = pd.DataFrame({"group": self.groups, "source": self.sources, "label": label}).drop_duplicates()
        _refuse_split_groups(pairs)
        return tuple(fold_without(name, label == name, pairs[pairs["label"] == name]["source"]) for name in names)


def _refuse_split_groups(pairs: pd.DataFrame) -> None:
    """Raise BadInput if a content group is in more than one fold.

    Args:
        pairs: columns ``group``, ``source`` and ``label`` (its fold), each combination once.
    """
    folds = pairs.groupby("group")["label"].nunique()
    if len(split := folds[folds > 1].index):
        sources = pairs[pairs["group"] == split[0]]
        where = ", ".join(f"{one.source} in {one.label}" for one in sources.head(_LISTED_AT_MOST).itertuples())
        more = ", …" if len(sources) > _LISTED_AT_MOST else ""
        raise BadInput(
            f"{counted(len(split), 'content group')} in more than one fold, first {split[0]}: {where}{more}",
            hint="Put all sources of a content group into one fold.",
        )


def fold_without(name: str, held: NDArray[np.bool_], sources: Sequence[str] | pd.Series[str]) -> Fold:
    """Return the fold that holds out the marked rows; its id is a hash of their sources."""
    return Fold(
        held_out=name,
        group_id=sha256_json({"sources": sorted(sources)}),
        train=np.flatnonzero(~held).astype(np.int32),
        held=np.flatnonzero(held).astype(np.int32),
    )


def build(frame: pd.DataFrame, features: Sequence[str], *, what: str) -> FeatureTable:
    """Sort rows and check them. Without a column ``group`` each source is its own group; ``src_sha256`` may be absent.

    Args:
        what: name of the rows in an error.

    Raises:
        CheckFailed: no row, a duplicate key, frames of a clip that are not 0, 1, 2, …, a ``vmaf`` outside 0 to 100, an
            infinite feature, a ``mos`` or ``fold`` that differs within a clip, several teachers, or a source of
            a corpus in two groups.
    """
    grouped = frame if GROUP in frame else frame.assign(**{GROUP: frame["source"]})
    grouped = grouped if CONTENT in frame else grouped.assign(**{CONTENT: None})
    columns = [*LABELS, *features, *(name for name in (*TARGETS, FOLD) if name in frame)]
    ordered = grouped[columns].sort_values(list(KEY), kind="stable").reset_index(drop=True)
    for name in _NULLABLE:
        if name in ordered:  # one kind of null: the same content must have the same hash
            ordered[name] = ordered[name].astype(object).where(ordered[name].notna(), None)
    if problem := _wrong_order(ordered):
        raise CheckFailed(f"{what}: {problem}")
    kinds = dict.fromkeys((*features, *TARGETS), np.float64) | {"frame_index": np.int32}
    ordered = ordered.astype({name: kind for name, kind in kinds.items() if name in ordered})
    if len(_teachers(ordered)) == 1:  # a model file is identified by its content, not by its name
        ordered["teacher"] = ordered["teacher"].min() if ordered["teacher"].notna().all() else None
    table = FeatureTable(frame=ordered, features=tuple(features), merged_groups=_merge_groups(ordered))
    if problem := _wrong_value(table) or _contradiction(table.frame):
        raise CheckFailed(f"{what}: {problem}")
    return table


def _wrong_order(frame: pd.DataFrame) -> str:
    if not len(frame):
        return "the table is empty"
    if twice := int(frame.duplicated(list(KEY)).sum()):
        return f"{twice} duplicate frames, first: {_first_row(frame[frame.duplicated(list(KEY))])}"
    numbers = frame.groupby(list(CLIP), sort=False).cumcount()
    if (wrong := frame["frame_index"] != numbers).any():
        return f"frame numbers are not 0, 1, 2, …, first at {_first_row(frame[wrong])}"
    return ""


def _wrong_value(table: FeatureTable) -> str:
    frame = table.frame
    low, high = contract.SCORE_RANGE
    if (wrong := ~frame["vmaf"].between(low, high)).any():
        return f"vmaf outside {low:g} to {high:g}: {frame['vmaf'][wrong].iloc[0]} in {_first_row(frame[wrong])}"
    if (wrong := np.isinf(frame[list(table.features)]).any(axis=1)).any():
        return f"a feature is infinite: {_first_row(frame[wrong])}"
    return ""


def _contradiction(frame: pd.DataFrame) -> str:
    """Describe the first value that must be the same within a clip, a source or the table and is not; else ""."""
    for name in ("mos", FOLD):
        if name in frame and (wrong := _changes(frame, name)).any():
            return f"{name} differs within a clip, first at {_first_row(frame[wrong])}"
    if len(teachers := _teachers(frame)) > 1:
        return f"scores of several teachers: {', '.join(str(teacher or 'unknown') for teacher in teachers.values())}"
    sources = frame[["corpus", "source", GROUP]].drop_duplicates()
    if (twice := sources.duplicated(["corpus", "source"], keep=False)).any():
        corpus, source = sources[twice].iloc[0][["corpus", "source"]]
        groups = sources[(sources["corpus"] == corpus) & (sources["source"] == source)][GROUP]
        return f"{corpus}/{source} is in {len(groups)} content groups ({', '.join(groups)}), expected one"
    return ""


def _teachers(frame: pd.DataFrame) -> dict[str, Teacher | None]:
    """Return the teachers of a table by identity."""
    teachers = [None if pd.isna(text) else Teacher.of_text(text) for text in frame["teacher"].unique()]
    return {canonical_json(teacher and teacher.identity).decode(): teacher for teacher in teachers}


def _merge_groups(frame: pd.DataFrame) -> dict[str, str]:
    """Map each group to the smallest name among the groups it shares content with."""
    known = frame[list(_CONTENT_NAMES)].drop_duplicates()
    ties = [{name for name in names if name is not None} for names in known.itertuples(index=False, name=None)]
    groups, united = set(known[GROUP]), {}
    for alike in components(sorted(set().union(*ties)), ties):
        own = groups.intersection(alike)
        united.update(dict.fromkeys(own, min(own)))
    return united


def _changes(frame: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Mark the rows whose value differs from the first of their clip; null equals null. Frames are in order."""
    begins = np.where(frame["frame_index"] == 0, np.arange(len(frame)), 0)
    column = frame[name].reset_index(drop=True)
    first = column.iloc[np.maximum.accumulate(begins)].reset_index(drop=True)
    same: NDArray[np.bool_] = ((column == first) | (column.isna() & first.isna())).to_numpy(bool)
    return ~same


def _first_row(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return "/".join(str(first[name]) for name in CLIP) + f", frame {first['frame_index']}"


def write(path: Path, table: FeatureTable, *, facts: Mapping[str, object]) -> None:
    """Write a table; the same rows and facts give the same bytes.

    Args:
        facts: metadata of the file: origin of the rows and how they were made.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = pa.Table.from_pandas(table.frame, schema=_schema(table), preserve_index=False)
    with atomic_path(path) as temporary:
        pq.write_table(
            written.replace_schema_metadata({_VERSION: canonical_json(dict(facts))}), temporary, compression="zstd"
        )


def _schema(table: FeatureTable) -> pa.Schema:
    import pyarrow as pa

    kinds = {"frame_index": pa.int32()} | dict.fromkeys((*TEXTS, FOLD), pa.string())
    return pa.schema([pa.field(name, kinds.get(name, pa.float64())) for name in table.frame.columns])


def read(path: Path) -> FeatureTable:
    """Read a feature table, or the rows of a run folder or shard.

    Raises:
        Missing: the path does not exist.
        BadInput: not a feature table.
        CheckFailed: invalid rows, or other rows than the file was written with.
    """
    if path.is_dir():
        return from_shard(shards.read_manifest(shard_folder(path)), str(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(path)
        facts = json.loads((stored.schema.metadata or {}).get(_VERSION, b"{}"))
        frame = stored.to_pandas()
    except FileNotFoundError:
        raise Missing(f"{path} does not exist", hint=_HINT) from None
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not a Parquet file: {error}", hint=_HINT) from error
    table = _from_columns(frame, path)
    written = facts.get("table_sha256") if isinstance(facts, dict) else "unreadable"
    if written not in (None, table.sha256):
        raise CheckFailed(
            f"{path} is damaged: SHA-256 of its rows is {table.sha256}, written as {written}",
            hint="Make it again, or use another copy. To change rows on purpose, write a new Parquet file "
            "without the metadata of this one.",
        )
    return table


def _from_columns(frame: pd.DataFrame, path: Path) -> FeatureTable:
    """Build a table from the columns of a file."""
    if lacking := [name for name in (*LABELS, "vmaf") if name not in (*frame, GROUP, CONTENT)]:
        raise BadInput(f"{path} is not a feature table: it lacks the columns {', '.join(lacking)}", hint=_HINT)
    if not len(frame):
        raise CheckFailed(f"{path} has no rows", hint=_HINT)
    features = tuple(name for name in frame.columns if name not in {*TEXTS, *KEY, *TARGETS, FOLD})
    if FOLD in frame and pd.api.types.is_integer_dtype(frame[FOLD]):  # as other tools number them
        frame[FOLD] = frame[FOLD].astype(str)
    wrong = [name for name in (*features, *TARGETS, "frame_index") if name in frame and not _is_number(frame[name])]
    frame = frame.astype({name: object for name in (*TEXTS, FOLD) if name in frame})
    wrong += [name for name in (*TEXTS, FOLD) if name in frame and not _is_text(frame[name], null=name in _NULLABLE)]
    if wrong:
        raise BadInput(f"{path}: columns of a wrong type: {', '.join(wrong)}", hint=_HINT)
    return build(frame, features, what=str(path))


def _is_number(column: pd.Series[float]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _is_text(column: pd.Series[str], *, null: bool) -> bool:
    """Whether all values are text, or null where ``null`` allows it."""
    texts = column.dropna()
    return (null or len(texts) == len(column)) and all(isinstance(text, str) for text in texts.unique())


def from_shard(shard: shards.Shard, what: str) -> FeatureTable:
    """Return the rows of a corpus; a clip is named by encoder, quality point and key."""
    parts = []
    for entry, rows in shards.read_rows(shard):
        columns: dict[str, object] = {
            "corpus": rows.labels["corpus"],
            "source": entry.source,
            "clip": f"{entry.encoder}-cq{entry.cq:02d}-{entry.key[:12]}",
            "frame_index": np.arange(entry.rows, dtype=np.int32),
            GROUP: entry.group,
            CONTENT: entry.src_sha256,
            "codec": entry.encoder,
            "teacher": shard.teacher.text if shard.teacher else None,
            "vmaf": rows.vmaf,
        }
        parts.append(pd.DataFrame(columns | dict(zip(contract.FEATURES, rows.features.T, strict=True))))
    if not parts:
        raise BadInput(f"{what} has no finished cell", hint="Run `corpus` first.")
    return build(pd.concat(parts, ignore_index=True), contract.FEATURES, what=what)
