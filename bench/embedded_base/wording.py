"""What a restaurant sentence says of each slot, read by fixed wording rules.

For every slot a reading is one of: a value of the E2E vocabulary, None (the sentence says nothing of the slot), or
UNCLEAR (it says something that these rules cannot tell apart, so nobody should be tested on it). The rules never see the
record: demo_data.py compares, and keeps a row only if the two agree on every slot.
"""

import re
import unicodedata

UNCLEAR = "?"

FOODS = {
    "English": r"english|british",
    "Chinese": r"chinese",
    "French": r"french",
    "Japanese": r"japanese|sushi",
    "Italian": r"italian|pasta|pizzas?",
    "Indian": r"indian|curry|curries",
    "Fast food": r"fast[- ]?foods?|burgers?",
}
PLACES = {"coffee shop": r"coffee|cafes?", "pub": r"pubs?|public house", "restaurant": r"restaurants?"}
AREAS = {
    "riverside": r"river\s?-?side|riverbank|river|waterfront|waterside",
    "city centre": r"cent(?:re|er|ral)|downtown|(?:in|of|within|around) the (?:city|town)",
}

FAMILY = r"famil\w+|kids?|kid\w*|child\w*|adults?|teens?|toddlers?|bab(?:y|ies)|youngsters?|all ages|everyone"
ADULT = r"adults?"
NEGATION = r"\w*n't|not|no|non|never|without|unsuitable|inappropriate|unfriendly|avoid\w*|lacks?|nor|neither|isnt|dont"
CLAUSE_END = r"[.;!?]|,|\b(?:but|although|though|yet|however|while)\b"

MONEY = r"£|\$|\bpounds?\b|\b(?:20|25|30|twenty|thirty)\b"
PRICE_HEAD = {"price", "prices", "priced", "pricing", "pricey", "range", "ranges", "cost", "costs", "costing"}
RATING_HEAD = {"rating", "ratings", "rated", "rate", "rates", "review", "reviews", "satisfaction", "reviewed"}
# Said alone, these speak of the price whatever stands beside them.
PRICE_ALONE = {
    "cheap": r"cheap\w*|inexpensive\w*|affordabl\w+|budget|low-?cost|economical",
    "high": r"(?<!less )(?<!not )expensive|pricey|costly|high-end|upscale|overpriced",
    "moderate": r"mid-?range|mid-?priced?|reasonabl\w+",
}
# Said beside a head, these take their meaning from it.
PRICE_LEVEL = {
    "low": "cheap", "lower": "cheap", "cheap": "cheap", "moderate": "moderate", "moderately": "moderate",
    "medium": "moderate", "average": "moderate", "averagely": "moderate", "mid": "moderate", "fair": "moderate",
    "high": "high", "higher": "high", "highly": "high",
}  # fmt: skip
RATING_LEVEL = {
    "low": "low", "lowly": "low", "poor": "low", "poorly": "low", "bad": "low", "terrible": "low",
    "average": "average", "averagely": "average", "mediocre": "average", "decent": "average", "ok": "average",
    "moderate": "average", "moderately": "average", "medium": "average", "fair": "average",
    "high": "high", "highly": "high", "great": "high", "excellent": "high", "good": "high", "well": "high",
    "top": "high", "higher": "high",
}  # fmt: skip
LEVEL_REACH_WORDS = 4  # a level further from every head than this is about something else ("low lights")
STARS = r"(?P<n>[0-9]|one|two|three|four|five)(?:\s*/\s*5|[ -](?:out of|of|from)[ -](?:5|five|a possible 5)|[ -]*-?stars?)"
NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}


def fold(text: str) -> str:
    """Lower-case, accents gone, typographic apostrophes and spaces plain."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    return " ".join("".join(char for char in decomposed if not unicodedata.combining(char)).split())


def said_choice(sentence: str, wordings: dict[str, str]) -> str | None:
    """The one value whose wording occurs; UNCLEAR where several do."""
    values = [value for value, words in wordings.items() if re.search(rf"\b(?:{words})\b", sentence)]
    return None if not values else values[0] if len(values) == 1 else UNCLEAR


def said_family(sentence: str) -> str | None:
    """yes or no, by a negation in the clause that speaks of families, children or adults."""
    readings = set()
    for clause in re.split(CLAUSE_END, sentence):
        if re.search(rf"\b(?:{FAMILY})\b", clause):
            negated = bool(re.search(rf"\b(?:{NEGATION})\b", clause)) or bool(re.search(r"\bnon-?\w", clause))
            if re.search(rf"\b(?:{ADULT})\b", clause):
                readings.add(UNCLEAR if negated else "no")
            else:
                readings.add("no" if negated else "yes")
    return None if not readings else readings.pop() if len(readings) == 1 else UNCLEAR


def said_price(sentence: str) -> str | None:
    """The price in figures if there are any, else in words; UNCLEAR where both or two are said."""
    sentence = re.sub(STARS, " ", sentence)
    worded = said_levels(sentence, PRICE_HEAD, RATING_HEAD, PRICE_LEVEL)
    worded |= {value for value, words in PRICE_ALONE.items() if re.search(rf"\b(?:{words})\b", sentence)}
    figures = said_figures(sentence)
    if figures is not None:
        return UNCLEAR if worded else figures
    if len(worded) == 1:
        return worded.pop()
    heads = PRICE_HEAD - {"range", "ranges"}
    return UNCLEAR if worded or heads & set(words_of(sentence)) else None


def said_figures(sentence: str) -> str | None:
    """One of E2E's three price bands in pounds."""
    if not re.search(MONEY, sentence):
        return None
    text = sentence.replace("twenty five", "25").replace("twenty-five", "25")
    text = text.replace("twenty", "20").replace("thirty", "30")
    amounts = set(re.findall(r"\d+", text))
    if amounts == {"20"} and re.search(r"less|under|below|up to|within|cheaper|lower|<|not more", text):
        return "less than £20"
    if amounts == {"30"} and re.search(r"more|over|above|at least|upwards|exceed|>|\+|higher|greater", text):
        return "more than £30"
    return "£20-25" if amounts == {"20", "25"} else UNCLEAR


def said_rating(sentence: str) -> str | None:
    """The rating in points if there are any, else in words; UNCLEAR where both or two are said."""
    points = {
        NUMBERS.get(match.group("n"), match.group("n")) for match in re.finditer(rf"\b{STARS}", sentence)
    }
    worded = said_levels(sentence, RATING_HEAD, PRICE_HEAD, RATING_LEVEL)
    if points:
        return f"{points.pop()} out of 5" if len(points) == 1 and not worded else UNCLEAR
    if len(worded) == 1:
        return worded.pop()
    return UNCLEAR if worded or (RATING_HEAD | {"star", "stars"}) & set(words_of(sentence)) else None


def said_levels(sentence: str, heads: set[str], other_heads: set[str], levels: dict[str, str]) -> set[str]:
    """The values of level words that stand nearer to one of `heads` than to one of `other_heads`."""
    found = set()
    for part in re.split(r"[.;!?]", sentence):
        words = words_of(part)
        mine = [i for i, word in enumerate(words) if word in heads]
        others = [i for i, word in enumerate(words) if word in other_heads]
        for at, word in enumerate(words):
            if word not in levels or not mine:
                continue
            nearest = min(mine, key=lambda head: distance(words, at, head))
            reach = distance(words, at, nearest)
            rival = min((distance(words, at, head) for head in others), default=99.0)
            if reach <= LEVEL_REACH_WORDS and reach < rival:
                found.add(levels[word])
    return found


def distance(words: list[str], level: int, head: int) -> float:
    """Words between a level and its head; behind a head only "rating is low" and "rating of low" count as near."""
    if head > level:
        return head - level - 0.5
    between = words[head + 1 : level]
    linked = set(between) & {"is", "are", "of", "as", "at", "was", "being", "range", "ranges", "rating"}
    return level - head - (0.6 if linked or not between else -1.5)


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text)
