"""The words that are counted to see whether a ready direction does what its title says. All lists are ours.

They are regular expressions of whole words, with commas between; a group says which endings count as well.
"""

from steersman.ready.wording import Wording


def _marks(text: str) -> tuple[str, ...]:
    return tuple(mark for line in text.splitlines() for part in line.split(", ") if (mark := part.strip(" ,")))


CHEER = Wording(
    "different bright less gloomy words, per 100 words",
    toward=_marks(
        r"""
        !, happy, happi(?:ly|ness|er), glad, joy(?:ful|ous)?, delight(?:ed|ful|s)?, love(?:d|ly|s)?,
        wonderful(?:ly)?, great, amazing, fun, excit(?:ed|ing|ement), beautiful(?:ly)?, smil(?:e|es|ing),
        cheer(?:ful|s|y)?, fantastic, enjoy(?:ed|able|ing|s)?, sunny, warm(?:th)?, perfect, favou?rite,
        celebrat(?:e|es|ing|ion), laugh(?:s|ing|ter)?, bright, thrill(?:ed|ing)?, treat, hope(?:ful)?
        """
    ),
    away=_marks(
        r"""
        sad(?:ly|ness)?, sorry, unfortunately, gloom(?:y)?, miser(?:y|able), hopeless(?:ness)?, alone, lonely, lost,
        pain(?:ful)?, dark(?:ness)?, cold, tired, fear(?:s|ed|ful)?, afraid, worst, terrible, bleak, despair, empty,
        death, die(?:d|s)?, dying, dead, cr(?:y|ied|ying), tears, suffer(?:ed|ing|s)?, never, nothing, no one,
        regret, grief, hurt, fail(?:ed|ure|s)?, bad
        """
    ),
)
"""Of cheerful."""

FORMALITY = Wording(
    "different formal less casual words, per 100 words",
    toward=_marks(
        r"""
        furthermore, moreover, however, therefore, thus, hence, regarding, concerning, additionally, consequently,
        nevertheless, pursuant, upon, shall, ensure[sd]?, provid(?:e|es|ed|ing), assist, request(?:ed|s)?,
        require[sd]?, accordance, respectfully, sincerely, kindly, esteemed, individuals, appropriate(?:ly)?,
        essential, necessary, commence[sd]?, obtain(?:ed)?, utili[sz]e[sd]?, matter, recommend(?:ed)?, advisable,
        pleased, honou?r(?:ed)?, professional, inquir(?:y|e), beneficial, facilitate[sd]?, numerous,
        demonstrate[sd]?, significant(?:ly)?, respective, such as, is to be
        """
    ),
    away=_marks(
        r"""
        \w+n't, \w+'(?:re|ve|ll|d|m), it's, that's, there's, what's, here's, let's, gonna, wanna, gotta, kinda,
        yeah, yep, nah, hey, ok(?:ay)?, cool, awesome, stuff, guys?, buddy, dude, lol, a lot, lots, bunch, pretty,
        totally, crazy, weird, you know, just, got, sort of, kind of, thing(?:y|s)?, !, kids?, super, big deal,
        whatever, anyway
        """
    ),
)
"""Of formal."""

IMAGERY = Wording(
    "different words of imagery less plain measures, per 100 words",
    toward=_marks(
        r"""
        whisper(?:s|ed|ing)?, dream(?:s|t|ed|ing|y)?, souls?, hearts?, stars?, moon(?:light|lit)?, shadows?,
        danc(?:e|es|ed|ing), tapestry, thread(?:s)?, wo?ven?, weav(?:e|es|ing), gentle|gently, soft(?:ly)?, golden,
        silver(?:y)?, shimmer(?:s|ed|ing)?, glow(?:s|ed|ing)?, glisten(?:s|ed|ing)?, echo(?:es|ed|ing)?,
        breez(?:e|es), sea, ocean, river(?:s)?, sky|skies, dawn, dusk, twilight, sunset, sunrise, flowers?, petals?,
        bloom(?:s|ed|ing)?, garden, beauty, essence, eternal(?:ly)?, eternity, spirit, journey,
        embrac(?:e|es|ed|ing), song(?:s)?, symphony, melody, silence, silent(?:ly)?, light, dark(?:ness)?,
        tender(?:ly)?, memories, fleeting, canvas, paint(?:s|ed|ing)?, hues?, like an?, as if, realms?, wings?,
        fragrant|fragrance, delicate, mystery, magic(?:al)?, time itself, leaves
        """
    ),
    away=_marks(
        r"""
        \d[\d,.]*, \*\*, percent, example, information, data, steps?, include[sd]?, including
        """
    ),
)
"""Of poetic."""

PERSON = Wording(
    "different words of the first person, per 100 words",
    toward=_marks(
        r"""
        I, I'm, I've, I'll, I'd, me, my, mine, myself, we, us, our, ours, ourselves
        """
    ),
)
"""Of personal. `I'm` counts as `I`, which is found first."""
