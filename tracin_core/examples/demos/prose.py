"""Turn the start of a docstring into a few readable sentences, or refuse it."""

from __future__ import annotations

import inspect
import re
import unicodedata

MIN_LENGTH = 40  # characters; less says too little to judge the subject
MAX_LENGTH = 600  # characters; a text is to be read in seconds
MIN_WORDS = 7
MAX_PARAGRAPHS = 2
MAX_READ = 3000  # characters of a docstring; two paragraphs that can be used are always in there
MAX_HEADING = 100  # characters; an unfinished sentence this long goes on in a list or in code

_ROLE = re.compile(r":(?:[a-zA-Z]+:)*[a-zA-Z]+:`([^`]+)`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>`]*>`_{0,2}")
_MARKDOWN_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_CODE = re.compile(r"``([^`]+)``|`([^`]+)`_{0,2}")
_STRONG = re.compile(r"\*\*(\w[^*]*)\*\*|(?<![\w*])\*(\w[^*\s]*)\*(?!\w)")
_FOOTNOTE = re.compile(r"\s*\[(?:\d+|[A-Z]\w*)\]_?(?=[\s.,;:)]|$)")
_EMPTY_REFERENCE = re.compile(r"\s*\((?:see|cf\.?|e\.g\.?)?\s*\)(?=[\s.,;:])")
_QUALIFIED = re.compile(r"(?<![\w/.])[.~!]+(?=[A-Za-z_])")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
# "..., including:" and "e.g." introduce what is not shown; "so. and" is no sentence at all.
_COMPLETE = re.compile(
    r"^(?!.*[^.]\.\s+(?!e\.g|i\.e)[a-z]).*(?<!e\.g)(?<!i\.e)(?<!etc)[.!?]$", re.DOTALL
)
# A heading that ends in one of these goes on in a formula, a list or code.
_HANGING = re.compile(
    r"\b(?:a|an|and|are|as|be|by|for|from|if|in|including|is|like|of|on|or|that|the|this|to|where"
    r"|which|with|follows|following|see)$",
    re.IGNORECASE,
)
_POINTER = re.compile(
    r"Read more|See |Refer to|Please see|Please refer|For more|For details|New in|Warning!|Note:"
    r"|This (?:method|function|class) is (?:used )?(?:internally|for internal)|Added in"
    r"|The '\w+' property|This is a generator-based coroutine|It is recommended to use"
)

# Marks of what is no prose: sections, lists, tables, doctests, directives, fields, formulas.
_NO_PROSE = re.compile(
    r"^\s*(?:[-*+•]\s|\d+[.)]\s|>>>|\.\. |:\w+[\w ]*:|@\w+|[|+=~^#]{1,}|-{3,}|={3,})"
    r"|^\s*[\w, *]+ : |^\s*\w+ -- |^\s*\w+\(.*\)\s*(?:->.*)?$",
    re.MULTILINE,
)
_SECTION = re.compile(
    r"^(?:Parameters?|Arguments?|Args|Returns?|Yields?|Raises|Notes?|Examples?|References?"
    r"|See Also|Usage|Attributes|Methods|Warnings?|Keyword Arguments|Inputs?|Outputs?|Shape"
    r"|Description|Explanation|Caution|Tip|Important)\s*:?\s*(?:\n|$)"
)
_UNREADABLE = re.compile(
    r"\\|\$|\{|\}|<|>|=|\||`|::|__|\*|https?:|www\.|/\w+/|[A-Za-z]\^|\d\s*[+^]\s*[a-z]"
)
_BOILERPLATE = re.compile(
    r"\b(?:deprecat\w+|versionadded|versionchanged|obsolete|alias (?:for|of)|see also|todo|fixme"
    r"|xxx|internal|private|subclass(?:es)? (?:must|should|may|can)|override|backwards?.compat\w*"
    r"|legacy|refer to|docstring|see :|see the (?:docs|documentation|help)|do not use"
    r"|will be removed|same as|equivalent to calling|implementation of|test)\b",
    re.IGNORECASE,
)


def extract_prose(docstring: str) -> str | None:
    """Return the first sentences of a docstring as plain text on one line.

    Args:
        docstring: As written in the source, with its indentation and its markup (reStructuredText
            or Markdown).

    Returns:
        ``MIN_LENGTH`` to ``MAX_LENGTH`` characters of whole sentences from the first paragraph
        and, if it is prose too, the second; None if it does not begin with such prose.
    """
    kept: list[str] = []
    beginning = docstring[:MAX_READ]
    for paragraph in inspect.cleandoc(beginning).split("\n\n")[:MAX_PARAGRAPHS]:
        sentences = _read_paragraph(paragraph)
        if not sentences:
            break
        kept.extend(sentences)
    text = ""
    for sentence in kept:
        longer = f"{text} {sentence}".strip()
        if len(longer) > MAX_LENGTH:
            break
        text = longer
    return text if is_readable(text) else None


def is_readable(text: str) -> bool:
    """Tell whether a text is long enough, made of words, and says something."""
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH or len(text.split()) < MIN_WORDS:
        return False
    letters = sum(map(str.isalpha, text)) + text.count(" ")
    return letters >= 0.9 * len(text) and not _BOILERPLATE.search(text)


def normalise(text: str) -> str:
    """Return what is compared to find doubles: lower-case letters with single blanks.

    Digits are dropped with the punctuation, since "the first 2 rows" and "the first 3 rows" are
    one text to a reviewer.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W\d_]+", folded))


def _read_paragraph(paragraph: str) -> list[str]:
    """Return the whole sentences of one paragraph; none if it is a list, a section or code."""
    if _NO_PROSE.search(paragraph) or _SECTION.match(paragraph.strip()):
        return []
    if any(line.startswith("    ") for line in paragraph.splitlines()):
        return []
    text = _strip_markup(" ".join(paragraph.split()))
    sentences = _SENTENCE_END.split(text)
    if len(sentences) == 1 and _is_heading(sentences[0]):
        sentences[0] += "."
    readable = []
    for sentence in sentences:
        if _UNREADABLE.search(sentence) or not _COMPLETE.search(sentence):
            break
        if not _POINTER.match(sentence):
            readable.append(sentence)
    if readable and readable[0][0].islower():
        readable[0] = readable[0][0].upper() + readable[0][1:]
    return readable


def _is_heading(sentence: str) -> bool:
    """Tell whether a sentence only lacks its full stop."""
    short = sentence[-1:].isalnum() and len(sentence) <= MAX_HEADING
    return short and not _HANGING.search(sentence)


def _strip_markup(text: str) -> str:
    """Return a paragraph without roles, links, code quotes, emphasis and footnotes."""
    text = _ROLE.sub(lambda match: _name_of_role(match[1]), text)
    text = _LINK.sub(r"\1", text)
    text = _MARKDOWN_LINK.sub(r"\1", text)
    text = _CODE.sub(lambda match: match[1] or match[2], text)
    text = _STRONG.sub(lambda match: match[1] or match[2], text)
    text = _FOOTNOTE.sub("", text)
    text = _EMPTY_REFERENCE.sub("", text)
    return " ".join(_QUALIFIED.sub("", text).split())


def _name_of_role(target: str) -> str:
    """Return what a role shows: its title, or the last part of a path behind a tilde."""
    if "<" in target:
        return target.split("<")[0].strip()
    if target.startswith(("~", "!~")):
        return target.rsplit(".", 1)[-1]
    # `_orm.Session` is written for the linker; a person reads Session.
    return re.sub(r"^[.~!]*(?:_\w+\.)*", "", target)
