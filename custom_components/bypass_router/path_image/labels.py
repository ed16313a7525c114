"""The few words in the picture, in the languages that the integration has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Words:
    """What the picture says."""

    client: str
    main_router: str
    bypass_router: str
    target: str
    anyone: str
    """May come in."""
    ok: str
    failed: str
    unknown: str
    works: str
    broken: str
    on: str
    off: str
    away: str
    """The bypass router can't be reached."""


_ENGLISH: Final = Words(
    client="Internet",
    main_router="Main router",
    bypass_router="Bypass router",
    target="Device",
    anyone="From anywhere",
    ok="OK",
    failed="Fails",
    unknown="Not checked",
    works="Works",
    broken="Does not work",
    on="On",
    off="Off",
    away="Not reachable",
)
WORDS: Final[Mapping[str, Words]] = {
    "en": _ENGLISH,
    "ja": Words(
        client="インターネット",
        main_router="メインルーター",
        bypass_router="バイパスルーター",
        target="機器",
        anyone="すべての接続元",
        ok="正常",
        failed="失敗",
        unknown="未確認",
        works="動作中",
        broken="つながりません",
        on="オン",
        off="オフ",
        away="ルーターに接続不可",
    ),
    "zh-Hans": Words(
        client="互联网",
        main_router="主路由",
        bypass_router="旁路由",
        target="设备",
        anyone="任何来源",
        ok="正常",
        failed="失败",
        unknown="未检查",
        works="工作正常",
        broken="无法工作",
        on="已打开",
        off="已关闭",
        away="路由器无法连接",
    ),
}


def words_in(language: str) -> Words:
    """Return the words in a language, or in English."""
    return WORDS.get(language, _ENGLISH)
