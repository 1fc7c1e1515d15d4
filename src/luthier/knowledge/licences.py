"""Licences of models and data: what each asks of a model that was made with them, as far as a table can say it.

This is no legal advice, and whether training makes a model a derived work of its data is settled nowhere. The table errs on the
strict side and leaves the decision to a person: what does not fit is a question to be answered, never a silence. Names are those of
the hub (huggingface.co/docs/hub/repositories-licenses).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

UNKNOWN = "unknown"
OTHER = "other"


@dataclass(frozen=True)
class Licence:
    """What a licence asks of whoever publishes a model made with what it covers."""

    name: str
    title: str
    source: str
    """Where its text is."""
    asks_same: bool = False
    """What is made with it must come under the same licence, or one that keeps its terms."""
    forbids_trade: bool = False
    """No commercial use, of what is made with it either."""
    forbids_change: bool = False
    """Nothing derived may be published."""
    asks_copy: bool = False
    """A copy of its text goes along."""
    name_starts: str = ""
    """What the published model's name must begin with."""
    display: str = ""
    """A line that the card must show."""
    notice: str = ""
    """What a file NOTICE must say."""
    on_hub: bool = True
    """Whether the hub knows the name; else the card says `other` and gives the name apart."""

    @property
    def is_known(self) -> bool:
        return self.name not in (UNKNOWN, OTHER)


# Those of Creative Commons that the hub has a name for (huggingface.co/docs/hub/repositories-licenses).
_CC_ON_HUB = {
    "by": ("2.0", "2.5", "3.0", "4.0"),
    "by-sa": ("3.0", "4.0"),
    "by-nd": ("4.0",),
    "by-nc": ("2.0", "3.0", "4.0"),
    "by-nc-sa": ("2.0", "3.0", "4.0"),
    "by-nc-nd": ("3.0", "4.0"),
}


def _creative_commons() -> Iterator[Licence]:
    kinds = {
        "by": "Attribution",
        "by-sa": "Attribution-ShareAlike",
        "by-nd": "Attribution-NoDerivatives",
        "by-nc": "Attribution-NonCommercial",
        "by-nc-sa": "Attribution-NonCommercial-ShareAlike",
        "by-nc-nd": "Attribution-NonCommercial-NoDerivatives",
    }
    for kind, words in kinds.items():
        for version in ("2.0", "2.5", "3.0", "4.0"):
            yield Licence(
                f"cc-{kind}-{version}",
                f"Creative Commons {words} {version}",
                f"https://creativecommons.org/licenses/{kind}/{version}/",
                asks_same="sa" in kind.split("-"),
                forbids_trade="nc" in kind.split("-"),
                forbids_change="nd" in kind.split("-"),
                on_hub=version in _CC_ON_HUB[kind],
            )


def _llama(name: str, version: str, *, built_with: str, starts: str) -> Licence:
    """Llama 3 and later, section 1.b of each agreement: copy, display, name and notice."""
    return Licence(
        name,
        f"Llama {version} Community License",
        f"https://www.llama.com/llama{version.replace('.', '_')}/license/",
        asks_same=True,
        asks_copy=True,
        name_starts=starts,
        display=built_with,
        notice=f"{'Meta ' if version == '3' else ''}Llama {version} is licensed under the {'Meta ' if version == '3' else ''}Llama {version} Community License, "
        "Copyright © Meta Platforms, Inc. All Rights Reserved.",
    )


_SPDX = "https://spdx.org/licenses/"
# No condition on the licence of what is derived: as choosealicense.com lists their conditions (its _licenses folder), and for data the
# preambles of ODC-By and PDDL, and section 3 of CDLA Permissive 2.0, which leaves results free.
_PERMISSIVE = {
    "apache-2.0": ("Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    "mit": ("MIT License", _SPDX + "MIT.html"),
    "bsd": ("BSD licences", "https://opensource.org/license/bsd-3-clause"),
    "bsd-2-clause": ("BSD 2-Clause License", _SPDX + "BSD-2-Clause.html"),
    "bsd-3-clause": ("BSD 3-Clause License", _SPDX + "BSD-3-Clause.html"),
    "isc": ("ISC License", _SPDX + "ISC.html"),
    "bsl-1.0": ("Boost Software License 1.0", _SPDX + "BSL-1.0.html"),
    "postgresql": ("PostgreSQL License", _SPDX + "PostgreSQL.html"),
    "unlicense": ("The Unlicense", "https://unlicense.org"),
    "zlib": ("zlib License", _SPDX + "Zlib.html"),
    "cc0-1.0": ("Creative Commons Zero 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "pddl": ("Open Data Commons Public Domain Dedication", "https://opendatacommons.org/licenses/pddl/1-0/"),
    "odc-by": ("Open Data Commons Attribution License", "https://opendatacommons.org/licenses/by/1-0/"),
    "cdla-permissive-1.0": ("CDLA Permissive 1.0", "https://cdla.dev/permissive-1-0/"),
    "cdla-permissive-2.0": ("CDLA Permissive 2.0", "https://cdla.dev/permissive-2-0/"),
}  # fmt: skip
# `same-license` or `share-alike` at choosealicense.com (GPL 2.0, 2.b; GPL and AGPL 3.0, 5.c; ODbL, 4.4; GFDL 1.3, 4); CDLA Sharing as
# github.com/lfai/CDLA says of it.
_SHARE_ALIKE = {
    "cdla-sharing-1.0": ("CDLA Sharing 1.0", "https://cdla.dev/sharing-1-0/"),
    "odbl": ("Open Database License", "https://opendatacommons.org/licenses/odbl/1-0/"),
    "gpl-2.0": ("GNU GPL 2.0", _SPDX + "GPL-2.0-only.html"),
    "gpl-3.0": ("GNU GPL 3.0", _SPDX + "GPL-3.0-only.html"),
    "agpl-3.0": ("GNU AGPL 3.0", _SPDX + "AGPL-3.0-only.html"),
    "lgpl-3.0": ("GNU LGPL 3.0", _SPDX + "LGPL-3.0-only.html"),
    "mpl-2.0": ("Mozilla Public License 2.0", "https://www.mozilla.org/MPL/2.0/"),
    "gfdl": ("GNU Free Documentation License", "https://www.gnu.org/licenses/fdl-1.3.html"),
}
# A derivative may come under other terms, which must hold at least the same use restrictions: the preambles of AI Pubs OpenRAIL-M
# (licenses.ai), CreativeML OpenRAIL-M and BigCode OpenRAIL-M. No other licence of this table holds them.
_RAIL = {
    "openrail": ("OpenRAIL licences", "https://www.licenses.ai"),
    "bigscience-bloom-rail-1.0": ("BigScience BLOOM RAIL 1.0", "https://huggingface.co/spaces/bigscience/license"),
    "bigcode-openrail-m": ("BigCode OpenRAIL-M", "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement"),
    "creativeml-openrail-m": ("CreativeML OpenRAIL-M", "https://huggingface.co/spaces/CompVis/stable-diffusion-license"),
}  # fmt: skip
_OF_MODELS = (
    # Llama 2 Community License, 1.b: copy and notice; its name and display clauses came with Llama 3.
    Licence(
        "llama2",
        "Llama 2 Community License",
        "https://ai.meta.com/llama/license/",
        asks_same=True,
        asks_copy=True,
        notice="Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved.",
    ),
    _llama("llama3", "3", built_with="Built with Meta Llama 3", starts="Llama 3"),
    _llama("llama3.1", "3.1", built_with="Built with Llama", starts="Llama"),
    _llama("llama3.2", "3.2", built_with="Built with Llama", starts="Llama"),
    _llama("llama3.3", "3.3", built_with="Built with Llama", starts="Llama"),
    # Not in the hub's list as far as it could be read, where the others are: hub-docs, repositories-licenses.md.
    replace(_llama("llama4", "4", built_with="Built with Llama", starts="Llama"), on_hub=False),
    # Gemma Terms of Use (1 April 2024), section 3.1: copy, notice, and the use restrictions passed on. Gemma 4 is not under them.
    Licence(
        "gemma",
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        asks_same=True,
        asks_copy=True,
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    ),
    # Qwen Research License (19 September 2024): section 2 not for trade, 3 copy and notice, 4 a line in the documentation.
    Licence(
        "qwen-research",
        "Qwen Research License",
        "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE",
        asks_same=True,
        forbids_trade=True,
        asks_copy=True,
        display="Built with Qwen",
        notice="Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT, Copyright (c) Alibaba Cloud. All Rights Reserved.",
        on_hub=False,
    ),
    # Qwen License (19 September 2024), sections 3 and 4, as before but for trade.
    Licence(
        "qwen",
        "Qwen License",
        "https://huggingface.co/Qwen/Qwen2.5-72B/blob/main/LICENSE",
        asks_same=True,
        asks_copy=True,
        display="Built with Qwen",
        notice="Qwen is licensed under the Qwen LICENSE AGREEMENT, Copyright (c) Alibaba Cloud. All Rights Reserved.",
        on_hub=False,
    ),
)
LICENCES: dict[str, Licence] = {
    each.name: each
    for each in (
        *(Licence(name, *words) for name, words in _PERMISSIVE.items()),
        *(Licence(name, *words, asks_same=True) for name, words in _SHARE_ALIKE.items()),
        *(Licence(name, *words, asks_same=True) for name, words in _RAIL.items()),
        *_creative_commons(),
        *_OF_MODELS,
    )
}
# Other spellings: SPDX's, and those that people write. Compared in small letters, with - for a space or a _.
_ALIASES = {
    "apache": "apache-2.0", "apache-license-2.0": "apache-2.0", "mit-license": "mit", "cc0": "cc0-1.0", "cc-zero": "cc0-1.0",
    "public-domain": "cc0-1.0", "odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "llama-2": "llama2", "llama-3": "llama3",
    "llama-3.1": "llama3.1", "llama-3.2": "llama3.2", "llama-3.3": "llama3.3", "llama-4": "llama4",
    "gpl-3.0-only": "gpl-3.0", "gpl-2.0-only": "gpl-2.0", "agpl-3.0-only": "agpl-3.0",
}  # fmt: skip
# All share-alike licences after version 1.0 let an adaptation come under a later version (Creative Commons for Educators and
# Librarians, 2020, page 85).
_LATER = {
    f"cc-{kind}-{before}": {f"cc-{kind}-{after}" for after in ("3.0", "4.0") if after > before}
    for kind in ("by-sa", "by-nc-sa")
    for before in ("2.0", "2.5", "3.0")
}


def find_licence(name: str) -> Licence:
    """The licence of a name, or one of that name of which nothing is known."""
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    plain = _ALIASES.get(plain, plain)
    return LICENCES.get(plain) or Licence(plain, name.strip() or UNKNOWN, "", on_hub=False)


def objection(made_with: Licence, published: Licence) -> str | None:
    """Why a model made with something under the one licence does not go under the other; None if nothing is known against it."""
    if made_with.name not in LICENCES:
        return "is not known here, so nothing can be said of what it allows"
    if made_with.forbids_change:
        return "allows nothing derived to be published"
    if made_with.name == published.name:
        return None
    if made_with.forbids_trade and not published.forbids_trade:
        return f"forbids commercial use, which {published.name} allows"
    if made_with.asks_same and published.name not in _LATER.get(made_with.name, ()):
        return f"asks that what is made with it keeps its terms, which {published.name} does not"
    return None


# How the first lines of licence texts read, with white space as one space.
_TEXTS: tuple[tuple[str, str], ...] = (
    ("apache-2.0", r"Apache License,? Version 2\.0"),
    ("mit", r"MIT License|Permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("cc0-1.0", r"CC0 1\.0 Universal"),
    ("gemma", r"Gemma Terms of Use"),
    ("qwen-research", r"Qwen RESEARCH LICENSE AGREEMENT"),
    ("qwen", r"Qwen LICENSE AGREEMENT"),
    ("llama2", r"LLAMA 2 COMMUNITY LICENSE AGREEMENT"),
    ("llama3.1", r"LLAMA 3\.1 COMMUNITY LICENSE AGREEMENT"),
    ("llama3.2", r"LLAMA 3\.2 COMMUNITY LICENSE AGREEMENT"),
    ("llama3.3", r"LLAMA 3\.3 COMMUNITY LICENSE AGREEMENT"),
    ("llama4", r"LLAMA 4 COMMUNITY LICENSE AGREEMENT"),
    ("llama3", r"LLAMA 3 COMMUNITY LICENSE AGREEMENT"),
)
_CC_TEXT = re.compile(
    r"Attribution((?:[- ](?:NonCommercial|ShareAlike|NoDerivatives))*) (2\.0|2\.5|3\.0|4\.0)"
    r"|\bCC[- ](BY(?:-(?:NC|SA|ND))*)[- ](2\.0|2\.5|3\.0|4\.0)"
)
_CC_WORDS = {"NonCommercial": "nc", "ShareAlike": "sa", "NoDerivatives": "nd"}
HEAD_CHARACTERS = 4000


def licence_of_text(text: str) -> Licence | None:
    """The licence that a LICENSE file's beginning names; None if it names none that is known, or several."""
    head = " ".join(text[:HEAD_CHARACTERS].split())
    found = {name for name, pattern in _TEXTS if re.search(pattern, head, re.IGNORECASE)}
    for match in _CC_TEXT.finditer(head):
        words = [_CC_WORDS[word] for word in re.findall("|".join(_CC_WORDS), match[1] or "")]
        kind = match[3].lower() if match[3] else "-".join(["by", *words])
        found.add(f"cc-{kind}-{match[2] or match[4]}")
    return LICENCES.get(found.pop()) if len(found) == 1 else None


# Well-known bases, by the licence that their pages on the hub name (each read on the hub, those of Mistral at
# docs.mistral.ai/getting-started/open_weight_models); the first pattern that fits. What is not here is asked of the user.
_BASES: tuple[tuple[str, str], ...] = (
    (r"meta-llama/Llama-2-.*", "llama2"),
    (r"meta-llama/Meta-Llama-3-.*", "llama3"),
    (r"meta-llama/(Meta-)?Llama-3\.1-.*", "llama3.1"),
    (r"meta-llama/Llama-3\.2-.*", "llama3.2"),
    (r"meta-llama/Llama-3\.3-.*", "llama3.3"),
    (r"meta-llama/Llama-4-.*", "llama4"),
    (r"google/gemma-((2|3)-.*|2b(-it)?|7b(-it)?)", "gemma"),
    (r"Qwen/Qwen2\.5-3B.*", "qwen-research"),
    (r"Qwen/Qwen2\.5-72B.*", "qwen"),
    (r"Qwen/Qwen2\.5-(0\.5|1\.5|7|14|32)B.*|Qwen/Qwen3-(0\.6|1\.7|4|8|14|32)B.*", "apache-2.0"),
    (r"mistralai/(Mistral-7B|Mistral-Nemo|Mixtral-8x7B)-.*", "apache-2.0"),
    (r"HuggingFaceTB/SmolLM2?-.*|TinyLlama/TinyLlama-1\.1B-.*", "apache-2.0"),
    (r"allenai/OLMo-2-1124-.*|ibm-granite/granite-3\.[01]-.*", "apache-2.0"),
    (r"EleutherAI/pythia-.*", "apache-2.0"),
    (r"microsoft/phi-1_5", "mit"),
    (r"bigscience/bloom(-.*)?", "bigscience-bloom-rail-1.0"),
    (r"bigcode/starcoder.*", "bigcode-openrail-m"),
)  # fmt: skip


def licence_of_base(hub_id: str) -> Licence | None:
    """The licence of a well-known base of the hub; None for any other."""
    name = next((name for pattern, name in _BASES if re.fullmatch(pattern, hub_id)), None)
    return LICENCES[name] if name else None
