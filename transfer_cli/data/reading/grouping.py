"""Images that belong together, such as those of one patient or one burst: no split comes between them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from transfer_cli.data.reading.listing import Indices, Listing, few
from transfer_cli.errors import UserError, counted

KEY = "dataset.group"


def groups_of(listing: Listing, asked: str | None) -> tuple[Sequence[str] | None, list[str]]:
    """The group of each image, and what the user should be warned of; None where images stand for themselves.

    What `asked` finds in an image's path below the data set names its group: its first group in parentheses, else all
    of it. An image of which it finds nothing is a group of its own. Raises UserError where it finds nothing at all.
    """
    if asked is None:
        return None, []
    if listing.groups is not None:
        return _own_where_empty(listing.groups, listing.keys), _spanning(listing.groups, listing.splits)
    pattern = _pattern(asked)
    found = [_found(pattern, key.replace(os.sep, "/")) for key in listing.keys]
    alone = [key for key, group in zip(listing.keys, found, strict=True) if not group]
    if len(alone) == len(found):
        raise UserError(
            f"{KEY}={asked}: is no column of a table, and as a regular expression finds nothing in any path, such as "
            f"{few(listing.keys[:1])}."
        )
    notes = [f"{KEY}={asked}: finds nothing in {counted(len(alone), 'path')} ({few(alone)}); each stands alone."]
    return _own_where_empty(found, listing.keys), [*(notes if alone else []), *_spanning(found, listing.splits)]


def _pattern(asked: str) -> re.Pattern[str]:
    try:
        return re.compile(asked)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{KEY}={asked}: is no column of the table, and no regular expression.") from error


def _found(pattern: re.Pattern[str], key: str) -> str:
    match = pattern.search(key)
    if match is None:
        return ""
    return match[1] or "" if pattern.groups else match[0]


def _own_where_empty(groups: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Group names with a mark before them, so that an image without one shares none."""
    return [f"group\0{group}" if group else f"image\0{key}" for group, key in zip(groups, keys, strict=True)]


def _spanning(groups: Sequence[str], splits: Mapping[str, Indices]) -> list[str]:
    """A warning of groups that the set's own splits divide."""
    seen = Counter(group for members in splits.values() for group in {groups[index] for index in members} if group)
    divided = sorted(group for group, count in seen.items() if count > 1)
    if not divided:
        return []
    return [f"{counted(len(divided), 'group')} of {KEY} in more than one of the set's own splits: {few(divided)}."]
