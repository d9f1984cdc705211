"""Which language a text is in."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._language import _fast, guess, language_of

SENTENCES = {
    "en": "The committee will publish its findings at the end of next month.",
    "de": "Der Ausschuss wird seine Ergebnisse Ende nächsten Monats veröffentlichen.",
    "fr": "La commission publiera ses conclusions à la fin du mois prochain.",
    "es": "La comisión publicará sus conclusiones a finales del próximo mes.",
    "it": "La commissione pubblicherà le sue conclusioni alla fine del mese prossimo.",
    "pt": "A comissão publicará as suas conclusões no final do próximo mês.",
    "nl": "De commissie zal haar bevindingen eind volgende maand bekendmaken.",
    "pl": "Komisja opublikuje swoje ustalenia pod koniec przyszłego miesiąca.",
    "uk": "Комісія оприлюднить свої висновки наприкінці наступного місяця.",
    "el": "Η επιτροπή θα δημοσιεύσει τα συμπεράσματά της στο τέλος του επόμενου μήνα.",
    "he": "הוועדה תפרסם את ממצאיה בסוף החודש הבא.",
    "ar": "ستنشر اللجنة نتائجها في نهاية الشهر المقبل.",
    "hi": "समिति अगले महीने के अंत में अपने निष्कर्ष प्रकाशित करेगी।",
    "th": "คณะกรรมการจะเผยแพร่ผลการศึกษาในปลายเดือนหน้า",
    "ja": "委員会は来月末に調査結果を公表する予定です。",
    "ko": "위원회는 다음 달 말에 조사 결과를 발표할 예정이다.",
    "zh": "委員會將於下月底公佈調查結果，並說明後續措施。",
    "fil": "Ilalathala ng komite ang mga natuklasan nito sa katapusan ng susunod na buwan.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_enough_with_either_library(language: str) -> None:
    """Where there is no wheel of the faster one, the other is asked: hosts of both kinds fill one index."""
    assert language_of(SENTENCES[language]) == guess(SENTENCES[language])[0] == language


def test_what_is_no_character_is_looked_past() -> None:
    for odd in ("\x1b[1m", "\x00", "\uffff", "\ud800", "\U0010ffff"):
        assert language_of(odd + SENTENCES["en"] + odd) == "en", ascii(odd)


@given(st.text(st.characters(codec=None), max_size=1500))
def test_any_text_has_a_language_or_none(text: str) -> None:
    found = language_of(text)
    assert found == "" or (found.isprintable() and found[:2] not in ("un", "xx", "zz"))


@pytest.mark.parametrize("text", ["", " \n", "12345 67", "def f(x): return x", "0x1f 0x2e 0x3d"])
def test_what_is_no_prose_has_none(text: str) -> None:
    assert language_of(text) == ""


def test_without_the_faster_library_the_other_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycld2", None)
    _fast.cache_clear()
    try:
        assert _fast() is None and language_of(SENTENCES["de"]) == "de"
    finally:
        monkeypatch.undo()
        _fast.cache_clear()
