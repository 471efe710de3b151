"""Feature tables: a row for every frame of a distorted clip, in Parquet; what the tiny heads are fitted to."""

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
from kit.core.values import Teacher
from kit.corpus.merge.labels import components
from kit.corpus.store import shard as shards
from kit.corpus.store.place import shard_folder
from kit.system.fsio import atomic_path
from kit.system.ui import counted
from kit.training.folds import Fold
from kit.training.table import Rows

if TYPE_CHECKING:
    import pyarrow as pa

#: What names a clip, and the order of rows: a frame of a clip of a source of a corpus.
CLIP = ("corpus", "source", "clip")
KEY = (*CLIP, "frame_index")
#: The content group of a source as its data set names it: a name means the same content in every corpus.
GROUP = "group"
#: What a source is, whatever it is called: SHA-256 of its geometry and decoded frames, as a shard has it.
CONTENT = "src_sha256"
#: Columns of text; the last three may be null where nothing tells.
TEXTS = (*CLIP, GROUP, CONTENT, "codec", "teacher")
#: Columns that every table has, besides features and targets.
LABELS = (*KEY, GROUP, CONTENT, "codec", "teacher")
TARGETS = ("vmaf", "mos")
FOLD = "fold"
_KNOWN_BY = ("source", GROUP, CONTENT)
#: What the metadata of a file says of its rows, for :func:`read` and for people.
FACTS = ("table_sha256", "features", "teacher", "corpora")
_NULLABLE = (CONTENT, "codec", "teacher", FOLD)
_NAMED_AT_MOST = 4
_VERSION = b"vmaf_kit.feature_table"
_HINT = "Make it with `extract-features` or `combine`."


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """Rows in order of ``KEY``, each key once.

    Attributes:
        frame: the columns ``corpus, source, clip, frame_index, group, src_sha256, codec, teacher``, features
            (float64), ``vmaf``, and where they are known ``mos`` and ``fold``.
        features: names of the feature columns.
        united: name of each group to that of the content it is held out with, see :attr:`groups`.
    """

    frame: pd.DataFrame
    features: tuple[str, ...]
    united: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def teacher(self) -> Teacher | None:
        """The model whose score ``vmaf`` is; None where nothing tells."""
        (teacher,) = self.frame["teacher"].unique()
        return None if pd.isna(teacher) else Teacher.of_text(teacher)

    @cached_property
    def sha256(self) -> str:
        """Of the content: labels, features and targets of every row."""
        digest = hashlib.sha256(canonical_json(list(self.frame.columns)))
        for name in self.frame.columns:
            column = self.frame[name]
            values = pd.util.hash_array(column.to_numpy(object), categorize=True) if name in {*TEXTS, FOLD} else column
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def rows(self, target: str = "vmaf") -> Rows:
        """What is trained on: the six features, and a target.

        Raises:
            BadInput: a feature of the six is not there, or the target is not.
            CheckFailed: a value of them is not finite.
        """
        if lacking := [name for name in (*contract.FEATURES, target) if name not in self.frame]:
            raise BadInput(
                f"the table has no column {', '.join(lacking)}; there are {', '.join(self.frame.columns)}",
                hint="`join-mos` adds subjective scores." if lacking == ["mos"] else _HINT,
            )
        numbers = self.frame[[*contract.FEATURES, target]]
        with np.errstate(over="ignore"):  # becomes an infinity, which is told
            values = numbers.to_numpy(np.float32)
        if (holes := numbers.isna()).any(axis=None):
            rows, lacking = holes.any(axis=1), numbers.columns[holes.any()]
            raise CheckFailed(
                f"{int(rows.sum())} of {counted(len(self), 'row')} without a value of {', '.join(lacking)}, "
                f"the first: {_named(self.frame[rows])}",
                hint="Put the tables together again with `combine`, without --fill-missing and without those "
                "that lack it.",
            )
        if (wrong := np.isinf(values).any(axis=1)).any():
            raise CheckFailed(
                f"a value of {', '.join(numbers.columns)} is too large for 32 bits: {_named(self.frame[wrong])}",
                hint=_HINT,
            )
        features, wanted = np.ascontiguousarray(values[:, :-1]), values[:, -1].copy()
        return Rows(features=features, codec=np.zeros((len(self), contract.CODEC_DIM), dtype=np.float32), target=wanted)

    def clips(self) -> Iterator[tuple[str, slice]]:
        """Every clip as ``corpus/source/clip`` with its rows, in order."""
        first = np.flatnonzero(self.frame["frame_index"].to_numpy() == 0).tolist()
        for begin, end in pairwise([*first, len(self)]):
            yield "/".join(self.frame.iloc[begin][list(CLIP)]), slice(begin, end)

    @cached_property
    def sources(self) -> NDArray[np.str_]:
        """``corpus/source`` of each row."""
        found: NDArray[np.str_] = (self.frame["corpus"] + "/" + self.frame["source"]).to_numpy(str)
        return found

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """Content group of each row: what is held out as a whole.

        Groups that have a name, a source's name or a source's content in common, in whatever corpora, are one, and
        have the smallest of their names: the same film on both sides of a fold would cost the evidence, one fold less
        costs little.
        """
        found: NDArray[np.str_] = self.frame[GROUP].map(self.united).to_numpy(str)
        return found

    def names(self, rows: NDArray[np.bool_]) -> list[str]:
        """What the content of some rows is known by: names of groups, of sources without corpus, and hashes; sorted."""
        return sorted({name for column in _KNOWN_BY for name in self.frame[column][rows].dropna().unique()})

    def known_by(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Which rows are of content that is known by one of these names, see :meth:`names`."""
        named = self.frame[list(_KNOWN_BY)].isin(names).any(axis=1).to_numpy()
        found: NDArray[np.bool_] = np.isin(self.groups, self.groups[named])
        return found

    def members(self, rows: NDArray[np.bool_] | None = None) -> dict[str, list[str]]:
        """Sources of each content group, of some of the rows or of all; sorted."""
        pairs = pd.DataFrame({"group": self.groups, "source": self.sources})
        kept = (pairs if rows is None else pairs[rows]).drop_duplicates()
        return {str(name): sorted(sources) for name, sources in kept.groupby("group")["source"]}

    def only(self, kept: NDArray[np.bool_]) -> FeatureTable:
        """Some of the rows."""
        return replace(self, frame=self.frame[kept].reset_index(drop=True))

    def folds(self, labels: Sequence[str] | NDArray[np.str_]) -> tuple[Fold, ...]:
        """A fold for each label of the rows, in order.

        Raises:
            BadInput: fewer than two labels, or a content group in more than one fold.
        """
        label = np.asarray(labels, dtype=np.str_)
        names = sorted(set(label.tolist()))
        if len(names) < 2:
            raise BadInput(
                f"all rows are in one fold ({', '.join(names) or 'there are none'})",
                hint="Nothing would be left to train on.",
            )
        pairs = pd.DataFrame({"group": self.groups, "source": self.sources, "label": label}).drop_duplicates()
        _refuse_torn(pairs)
        return tuple(held_out(name, label == name, pairs[pairs["label"] == name]["source"]) for name in names)


def _refuse_torn(pairs: pd.DataFrame) -> None:
    """Raise BadInput if a content group is in more than one fold.

    Args:
        pairs: ``group``, ``source`` and ``label`` of its fold, each combination once.
    """
    folds = pairs.groupby("group")["label"].nunique()
    if len(torn := folds[folds > 1].index):
        parts = pairs[pairs["group"] == torn[0]]
        where = ", ".join(f"{one.source} in {one.label}" for one in parts.head(_NAMED_AT_MOST).itertuples())
        more = ", …" if len(parts) > _NAMED_AT_MOST else ""
        others = f"; so {'is 1 other' if len(torn) == 2 else f'are {len(torn) - 1} others'}" if len(torn) > 1 else ""
        raise BadInput(
            f"the content group {torn[0]} is in more than one fold: {where}{more}{others}",
            hint="A content group is held out as a whole: its sources and frames are alike.",
        )


def held_out(name: str, held: NDArray[np.bool_], sources: Sequence[str] | pd.Series[str]) -> Fold:
    """The fold that holds out some rows; its id follows from their sources."""
    return Fold(
        held_out=name,
        group_id=sha256_json({"sources": sorted(sources)}),
        train=np.flatnonzero(~held).astype(np.int32),
        held=np.flatnonzero(held).astype(np.int32),
    )


def of(frame: pd.DataFrame, features: Sequence[str], *, what: str) -> FeatureTable:
    """Order rows and check them; where no ``group`` is told, each source is one of its own; ``src_sha256`` may lack.

    Args:
        what: how an error calls them.

    Raises:
        CheckFailed: no row, a key twice, frames of a clip that are not 0, 1, 2, …, a ``vmaf`` that is no score, an
            infinite feature, a ``mos`` or ``fold`` that differs within a clip, several teachers, or a source of
            a corpus in two groups.
    """
    grouped = frame if GROUP in frame else frame.assign(**{GROUP: frame["source"]})
    grouped = grouped if CONTENT in frame else grouped.assign(**{CONTENT: None})
    columns = [*LABELS, *features, *(name for name in (*TARGETS, FOLD) if name in frame)]
    ordered = grouped[columns].sort_values(list(KEY), kind="stable").reset_index(drop=True)
    for name in _NULLABLE:
        if name in ordered:  # a null is a null, whatever it was read from: content has one hash
            ordered[name] = ordered[name].astype(object).where(ordered[name].notna(), None)
    if problem := _wrong_order(ordered):
        raise CheckFailed(f"{what}: {problem}")
    kinds = dict.fromkeys((*features, *TARGETS), np.float64) | {"frame_index": np.int32}
    ordered = ordered.astype({name: kind for name, kind in kinds.items() if name in ordered})
    if len(_teachers(ordered)) == 1:  # a file is its content, whatever its name
        ordered["teacher"] = ordered["teacher"].min() if ordered["teacher"].notna().all() else None
    table = FeatureTable(frame=ordered, features=tuple(features), united=_united(ordered))
    if problem := _wrong_value(table) or _contradiction(table.frame):
        raise CheckFailed(f"{what}: {problem}")
    return table


def _wrong_order(frame: pd.DataFrame) -> str:
    if not len(frame):
        return "there is no row"
    if twice := int(frame.duplicated(list(KEY)).sum()):
        return f"frames are there twice ({twice}), the first: {_named(frame[frame.duplicated(list(KEY))])}"
    numbers = frame.groupby(list(CLIP), sort=False).cumcount()
    if (wrong := frame["frame_index"] != numbers).any():
        return f"frames are missing or numbered otherwise: {_named(frame[wrong])}"
    return ""


def _wrong_value(table: FeatureTable) -> str:
    frame = table.frame
    low, high = contract.SCORE_RANGE
    if (wrong := ~frame["vmaf"].between(low, high)).any():
        return f"vmaf outside {low:g} to {high:g}: {frame['vmaf'][wrong].iloc[0]} in {_named(frame[wrong])}"
    if (wrong := np.isinf(frame[list(table.features)]).any(axis=1)).any():
        return f"a feature is infinite: {_named(frame[wrong])}"
    return ""


def _contradiction(frame: pd.DataFrame) -> str:
    """What is one thing of a clip, a source or the table, and is told differently in it."""
    for name in ("mos", FOLD):
        if name in frame and (wrong := _changes(frame, name)).any():
            return f"{name} differs within a clip, from {_named(frame[wrong])} on"
    if len(teachers := _teachers(frame)) > 1:
        return f"scores of several teachers: {', '.join(str(teacher or 'not told') for teacher in teachers.values())}"
    sources = frame[["corpus", "source", GROUP]].drop_duplicates()
    if (twice := sources.duplicated(["corpus", "source"], keep=False)).any():
        corpus, source = sources[twice].iloc[0][["corpus", "source"]]
        groups = sources[(sources["corpus"] == corpus) & (sources["source"] == source)][GROUP]
        return f"{corpus}/{source} is in the content groups {', '.join(groups)}, and a source is in one"
    return ""


def _teachers(frame: pd.DataFrame) -> dict[str, Teacher | None]:
    """The teachers of a table by what tells them apart."""
    told = [None if pd.isna(text) else Teacher.of_text(text) for text in frame["teacher"].unique()]
    return {canonical_json(teacher and teacher.identity).decode(): teacher for teacher in told}


def _united(frame: pd.DataFrame) -> dict[str, str]:
    """Name of each group to the smallest name of the groups that are tied to it, see :attr:`FeatureTable.groups`."""
    known = frame[list(_KNOWN_BY)].drop_duplicates()
    ties = [{name for name in names if name is not None} for names in known.itertuples(index=False, name=None)]
    groups, united = set(known[GROUP]), {}
    for alike in components(sorted(set().union(*ties)), ties):
        own = groups.intersection(alike)
        united.update(dict.fromkeys(own, min(own)))
    return united


def _changes(frame: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Which rows have another value than the first of their clip; a null is a value. The frames are in order."""
    begins = np.where(frame["frame_index"] == 0, np.arange(len(frame)), 0)
    column = frame[name].reset_index(drop=True)
    first = column.iloc[np.maximum.accumulate(begins)].reset_index(drop=True)
    same: NDArray[np.bool_] = ((column == first) | (column.isna() & first.isna())).to_numpy(bool)
    return ~same


def _named(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return "/".join(str(first[name]) for name in CLIP) + f", frame {first['frame_index']}"


def write(path: Path, table: FeatureTable, *, facts: Mapping[str, object]) -> None:
    """Write a table; the same rows and facts give the same bytes.

    Args:
        facts: stored beside the rows: where they are from, how they were made.
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
        Missing: there is nothing.
        BadInput: it is no feature table.
        CheckFailed: it is one whose rows cannot be, or are not those that it was written with.
    """
    if path.is_dir():
        return of_shard(shards.read_manifest(shard_folder(path)), str(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(path)
        facts = json.loads((stored.schema.metadata or {}).get(_VERSION, b"{}"))
        frame = stored.to_pandas()
    except FileNotFoundError:
        raise Missing(f"{path} is not there", hint=_HINT) from None
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no Parquet file: {error}", hint=_HINT) from error
    found = _of_file(frame, path)
    promised = facts.get("table_sha256") if isinstance(facts, dict) else "none"
    if promised not in (None, found.sha256):
        raise CheckFailed(
            f"{path} is damaged: it was written with rows of the hash {promised}, and holds {found.sha256}",
            hint="Make it again, or take another copy. To change rows on purpose, write a new Parquet file "
            "without the metadata of this one.",
        )
    return found


def _of_file(frame: pd.DataFrame, path: Path) -> FeatureTable:
    """The table that a file's columns make."""
    if lacking := [name for name in (*LABELS, "vmaf") if name not in (*frame, GROUP, CONTENT)]:
        raise BadInput(f"{path} is no feature table: it has no column {', '.join(lacking)}", hint=_HINT)
    if not len(frame):
        raise CheckFailed(f"{path}: there is no row", hint=_HINT)
    features = tuple(name for name in frame.columns if name not in {*TEXTS, *KEY, *TARGETS, FOLD})
    if FOLD in frame and pd.api.types.is_integer_dtype(frame[FOLD]):  # as other tools number them
        frame[FOLD] = frame[FOLD].astype(str)
    wrong = [name for name in (*features, *TARGETS, "frame_index") if name in frame and not _is_number(frame[name])]
    frame = frame.astype({name: object for name in (*TEXTS, FOLD) if name in frame})
    wrong += [name for name in (*TEXTS, FOLD) if name in frame and not _is_text(frame[name], null=name in _NULLABLE)]
    if wrong:
        raise BadInput(f"{path}: the columns {', '.join(wrong)} have another type than they should", hint=_HINT)
    return of(frame, features, what=str(path))


def _is_number(column: pd.Series[float]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _is_text(column: pd.Series[str], *, null: bool) -> bool:
    """Whether all values are texts, or null where they may be."""
    texts = column.dropna()
    return (null or len(texts) == len(column)) and all(isinstance(text, str) for text in texts.unique())


def of_shard(shard: shards.Shard, what: str) -> FeatureTable:
    """The rows of a corpus; a clip is named after its encoder, quality point and key."""
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
        raise BadInput(f"{what} holds no finished cell", hint="`corpus` makes them.")
    return of(pd.concat(parts, ignore_index=True), contract.FEATURES, what=what)
