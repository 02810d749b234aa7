"""What the loopback Hub keeps: repositories as lists of commits, and what its API says of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

LARGE = (".safetensors", ".png", ".bin", ".0", ".pt", ".parquet", ".wav")
Files = dict[str, bytes]


@dataclass
class Repository:
    """`history` holds all files at each commit of main, the first one empty; `refs` those of other revisions."""

    private: bool = False
    gated: bool = False
    history: list[Files] = field(default_factory=lambda: [{}])
    refs: dict[str, Files] = field(default_factory=dict)
    viewer: dict[str, Any] | None = None  # what the dataset viewer knows: `dataset_info` by configuration

    @property
    def files(self) -> Files:
        return self.history[-1]

    def find(self, revision: str) -> tuple[str, Files] | None:
        """Commit and files of a branch, a ref or a commit."""
        named = [("main", files) for files in reversed(self.history)] + list(self.refs.items())
        return next(((commit(files), files) for name, files in named if revision in (name, commit(files))), None)

    def info(self, name: str, revision: str, files: Files) -> dict[str, Any]:
        siblings = [{"rfilename": path} for path in files]
        gated = "manual" if self.gated else False
        return {"id": name, "sha": revision, "private": self.private, "gated": gated, "tags": [], "siblings": siblings}


def commit(files: Files) -> str:
    """Of the same files the same, so that a push that changes nothing has the address of the last one."""
    return hashlib.sha1(repr([(path, blob_id(path, files[path])) for path in sorted(files)]).encode()).hexdigest()


def is_large(path: str) -> bool:
    """Weights, pictures and recordings go by LFS, text in the commit."""
    return path.endswith(LARGE)


def blob_id(path: str, content: bytes) -> str:
    """As git names a blob; as LFS names an object, where the file is one."""
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as in the answers of `tree` and `paths-info`."""
    oid = blob_id(path, content)
    lfs = {"lfs": {"oid": oid, "size": len(content), "pointerSize": 134}} if is_large(path) else {}
    return {"type": "file", "oid": oid, "size": len(content), "path": path, **lfs}


def tree(files: Files, folder: str, *, recursive: bool) -> list[dict[str, Any]] | None:
    """The entries of a folder; None if there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    below = {path: content for path, content in files.items() if path.startswith(prefix)}
    if folder and not below:
        return None
    folders = {parent for path in below for parent in _parents(path) if parent.startswith(prefix)}
    entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)]
    entries += [entry(path, content) for path, content in sorted(below.items())]
    return [one for one in entries if recursive or "/" not in one["path"].removeprefix(prefix)]


def paths_info(files: Files, paths: list[str]) -> list[dict[str, Any]]:
    """Of each path that is a file or a folder."""
    found = {one["path"]: one for one in tree(files, "", recursive=True) or []}
    return [found[path] for path in paths if path in found]


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
