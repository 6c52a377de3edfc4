"""The words of a home: what stands in it and lies about, and what may be done there."""

PLACES = (
    "armchair", "bathtubbasin", "bed", "cabinet", "cart", "coffeemachine", "coffeetable",
    "countertop", "desk", "diningtable", "drawer", "dresser", "fridge", "garbagecan",
    "handtowelholder", "laundryhamper", "microwave", "ottoman", "safe", "shelf", "sidetable",
    "sinkbasin", "sofa", "stoveburner", "toaster", "toilet", "toiletpaperhanger", "towelholder",
    "tvstand",
)  # fmt: skip
CLOSED = ("cabinet", "drawer", "fridge", "microwave", "safe")
"""Places with a door."""

THINGS = (
    "alarmclock", "apple", "baseballbat", "basketball", "book", "bowl", "box", "bread",
    "butterknife", "candle", "cd", "cellphone", "cloth", "creditcard", "cup", "desklamp",
    "dishsponge", "egg", "floorlamp", "fork", "glassbottle", "handtowel", "kettle", "keychain",
    "knife", "ladle", "laptop", "lettuce", "mug", "newspaper", "pan", "pen", "pencil",
    "peppershaker", "pillow", "plate", "plunger", "pot", "potato", "remotecontrol", "saltshaker",
    "soapbar", "soapbottle", "spatula", "spoon", "spraybottle", "statue", "tennisracket",
    "tissuebox", "toiletpaper", "tomato", "towel", "vase", "watch", "wateringcan", "winebottle",
)  # fmt: skip

TREATMENTS = {
    "sinkbasin": ("clean", "a clean {}"),
    "microwave": ("heat", "a hot {}"),
    "fridge": ("cool", "a cool {}"),
}
"""Place -> what can be done there to a thing that is held, and how one speaks of it then."""

WISHES = (
    "put {} in {}", "place {} on {}", "find {} and put it in {}", "put {} into {}",
)  # fmt: skip
LAMP_WISHES = ("look at {} under the {}", "examine the {} with the {}")
"""Sentences about what might be wanted; `{}` are kinds."""

ERRANDS = {
    "put": ("put a {} in {}", "put some {} on {}"),
    "put two": ("put two {} in {}", "find two {} and put them in {}"),
    "clean": ("put a clean {} in {}", "clean some {} and put it in {}"),
    "heat": ("put a hot {} in {}", "heat some {} and put it in {}"),
    "cool": ("put a cool {} in {}", "cool some {} and put it in {}"),
    "light": ("look at {} under the desklamp", "examine the {} with the desklamp"),
}
"""What is to be done with a thing -> sentences that ask for it; `{}` are kinds."""
