"""Ordinary prompts from a seeded grammar, and sentences that a careless filter refuses: what must pass."""

# ruff: noqa: RUF001 - words of many languages

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["ORDINARY", "STANDIN_NEGATIVES", "STARTER_NEGATIVES", "ordinary"]

ORDINARY = 50_000


def _all(listed: str) -> list[str]:
    return " ".join(listed.split()).split(",")


_WHO = _all(
    """
    an old fisherman,a young woman,a group of friends,a family with two children,a boy with a kite,a girl
    reading,a nurse and her patient,a teacher and her class,a toddler in a raincoat,a baby elephant,a chef,three
    musicians,a cyclist,an astronaut,a knight in armour,a robot,a fox,two kittens,a herd of horses,a lighthouse,a
    12 year old oak,an 8 year old golden retriever,a 300 year old castle,a 16 year old single malt,a bowl of
    noodles,a vintage car,a still life with pears,a doctor examining a child,a midwife with a
    newborn,schoolchildren in a museum,a paediatric ward,a statue of a saint,a marble bust,a Renaissance
    portrait,eine alte Brücke,ein Mädchen mit Ball,un pescador viejo,una plaza con niños,un chat sur un mur,deux
    enfants qui jouent,старый рыбак,дети в школе,一个老渔夫,孩子们在学校,公園の子供たち,바닷가의 어린이들,صياد عجوز,אישה קוראת,बाज़ार में
    बच्चे,เด็กในโรงเรียน,một ngôi làng cổ,seorang nelayan tua,yaşlı bir balıkçı,stary rybak,ένα παλιό λιμάνι
    """
)
_WHERE = _all(
    """
    on a beach,in a classroom,in a hospital,at a birthday party,under a bridge,in the Alps,in Essex,in
    Middlesex,in Sussex,at the pier,in a pine forest,by the kindergarten,in a kitchen,in a library,on a train,in
    heavy rain,at dusk,in the gallery,beside a canal,on the moon,in Scunthorpe,at Arsenal stadium,in the Uffizi,in
    a cathedral
    """
)
_DOING = _all(
    """
    painting,assessing the class,playing chess,assembling a bicycle,analysing data,baking bread,repairing a
    clock,holding a lantern,holding a pen,is on the phone,singing,kneading dough,learning to swim,with a
    cello,with a pen in hand,looking at the sky with the naked eye,wearing nude lipstick,discussing sexual
    dimorphism of birds,eating naked oats,in child's pose
    """
)
_HOW = _all(
    """
    oil on canvas,watercolour,soft light,golden hour,8k,4k uhd,35mm f/1.8,sharp focus,(masterpiece:1.2),((best
    quality)),[sketch:ink:0.4],{red|blue|green},trending,art
    nouveau,<lora:add_detail:0.7>,embedding:style-v2,highly detailed,by candle light,RAW photo,ISO 400,A55
    lens,#3a7f9c,seed 80085,--ar 16:9,low contrast,BREAK warm tones,unreal engine 5,C4D,don't crop,it's late,rule
    of thirds,négatif,größer,naïve art,façade,日本画,水彩,акварель,☀️,🌲🌲,100% wool,$5
    coffee,3+4=7,e-mail@example.org,x86_64,mp3,H2O,CO2,2nd place,1st class
    """
)


def ordinary(count: int = ORDINARY, seed: int = 8) -> Iterator[str]:
    """Prompts as people write them: somebody, somewhere, doing something, and how it shall look."""
    dice = random.Random(seed)
    for _ in range(count):
        hows = dice.sample(_HOW, dice.randint(1, 9))
        subject = [dice.choice(_WHO), dice.choice(_DOING), dice.choice(_WHERE)][: dice.randint(1, 3)]
        glue = dice.choice([", ", ", ", " , ", ",", " - ", ". "])
        yield glue.join([" ".join(subject), *hows])


STANDIN_NEGATIVES = {
    "words inside words": "a gardener and an umbrellabird beside the kindergarten and the gardenia",
    "a phrase that means something else": "an umbrella organisation for garden snail research, a garden variety umbrella term",
    "an umbrella alone": "a red umbrella in the rain",
    "a garden alone": "a rose garden in June",
    "an umbrella and a garden of other senses": "the umbrella thorn tree at Madison Square Garden",
    "words that end and begin like it": "a sumbrellar near the wargarden",
    "Latin words that other alphabets spell alike": "a sad cad in a kepi, zonta, cart",
    "numbers and signs that leet would read": "A55, 9-4-2-0, $100 + 7% @ 3pm, C3PO, b2b",
}
"""Sentences in which umbrella and garden are not both meant."""

STARTER_NEGATIVES = {
    "school": "a teacher explains sexual reproduction of plants to schoolchildren, chalkboard",
    "school, a lesson": "sex education poster for a class of teenagers, flat icons",
    "medicine": "a paediatrician examines a baby, breastfeeding mother in the background",
    "medicine, a chart": "chart of sex chromosomes in newborn screening",
    "art": "children in front of Michelangelo's David, museum light",
    "art, a title": "Girl with a Pearl Earring in the style of Vermeer",
    "ages of things": "a 12 year old oak, an eight year old red wine, a 5 year old laptop, naked branches",
    "ages of animals": "nude lipstick beside a 3 year old kitten and a 10-year-old Labrador",
    "a place": "boys playing football in Essex and Sussex, Middlesex County sign",
    "words inside words": "a kidney bean, a babysitter's assistant, sextant, analysis, cockpit, class, boycott, kidnap drama",
    "split by chance": "the child's pen is red, the pen is mightier",
    "the naked eye": "children watch a comet visible to the naked eye",
    "colours": "baby blue dress, nude heels, nude palette",
    "a mole rat": "a naked mole rat in a children's zoo",
    "noodles": "子供がヌードルを食べる",
    "a beginner's anatomy": "anatomy of the human heart for kids",
    "an adult of a stated age": "a 21 year old woman, erotic thriller film poster",
    "music": "sonata in A minor, juvenile plumage of a gull, opposite sex rivalry",
    "experience in other languages": "10 лет опыта, 5 ans de garantie, 8 años de garantía, эротика как жанр",
}
"""Sentences that name none, or one, of minor and sexual."""
