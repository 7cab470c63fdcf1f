"""What Python and JavaScript must read alike: recipes, lines of attributes and values of controls.

page/recipe.py, labels.py and controls.py read each case in test_page.py, page/front/values.js in test_front_core.py.
"""

import math

# A recipe's text, and its seed, face, temperature, bits and attributes.
RECIPES = [
    ("7", (7, 1, 1, "", "")),
    (" 7/3 ", (7, 3, 1, "", "")),
    ("7/3 temperature=0.85", (7, 3, 0.85, "", "")),
    ("4294967295/64 temperature=2 bits=+-.", (2**32 - 1, 64, 2, "+-.", "")),
    ("7/3 temperature=0.12345678901234568", (7, 3, 0.12345678901234568, "", "")),
    ("7/3 temperature=1e-09", (7, 3, 1e-9, "", "")),
    ("7/3 temperature=0.8 attributes=Smiling, no Young", (7, 3, 0.8, "", "Smiling, no Young")),
]

# What is no recipe, and what is said of it.
NO_RECIPES = [
    *(
        (text, "is no face: write a seed")
        for text in ("", "seven", "-1", "7/3/4", "7 bits=x", "7 temperature=1-1", "٧")
    ),
    *((text, "is no face: seeds go to 4,294,967,295") for text in ("7/0", "7/65", "4294967296", "7 temperature=2.1")),
]

# A model's attributes, a line, and the value of each attribute that the line sets.
NAMES = ["Smiling", "No_Beard", "5_o_Clock_Shadow", "Young", 'a "b", c=1']
LINES = [
    ("", {}),
    (" , ,", {}),
    ("Smiling", {"Smiling": 1}),
    ("smiling, no young", {"Smiling": 1, "Young": -1}),
    ("No beard", {"No_Beard": 1}),
    ("no No_Beard", {"No_Beard": -1}),
    ("no no beard", {"No_Beard": -1}),
    ("5 o clock shadow=0.25, Young = -1e-1", {"5_o_Clock_Shadow": 0.25, "Young": -0.1}),
    ("Smiling, no Smiling", {"Smiling": -1}),
    ('"Smiling","no Young"', {"Smiling": 1, "Young": -1}),
    ('"no a ""b"", c=1",Young', {'a "b", c=1': -1, "Young": 1}),
]

# Items that set nothing: no such name, or a number beyond -1 and 1.
NO_ITEMS = ["Smilling", "Smiling=2", "Smiling=-1.01", "Smiling=very", "Smiling=", "no", "=1"]

# Held bits of a model that has ten, and what is said of them.
TEN_BITS = [
    ("", ""),
    ("+-........", ""),
    ("+-", 'The bits cannot be "+-": write +, - or . for each of the 10, or nothing.'),
    ("+-.......x", 'The bits cannot be "+-.......x": write +, - or . for each of the 10, or nothing.'),
]

# A control, what a link or a program gives it, and its value, or what is said of it.
SEED = {"kind": "number", "least": 0, "most": 2**32 - 1, "step": 1}
MEAN = {"kind": "number", "least": -100, "most": 100, "step": 0.1}
WAY = {"kind": "choice", "choices": ["straight", "spherical", "crooked"]}
BITS = {"kind": "text", "most": 1200}
VALUES = [
    *((SEED, value, value) for value in (0, 7, 2**32 - 1)),
    *((MEAN, value, value) for value in (-100, 0.05, 100)),
    (WAY, "spherical", "spherical"),
    (BITS, "+-.", "+-."),
    (SEED, -1, "It cannot be -1: choose a whole number from 0 to 4,294,967,295."),
    (SEED, 1.5, "It cannot be 1.5: choose a whole number from 0 to 4,294,967,295."),
    (SEED, 2**32, "It cannot be 4,294,967,296: choose a whole number from 0 to 4,294,967,295."),
    (SEED, "seven", 'It cannot be "seven": choose a whole number from 0 to 4,294,967,295.'),
    (MEAN, 100.1, "It cannot be 100.1: choose a number from -100 to 100."),
    (MEAN, 1e9, "It cannot be 1,000,000,000: choose a number from -100 to 100."),
    (WAY, "round", 'It cannot be "round": choose straight, spherical or crooked.'),
    (BITS, "a\0b", 'It cannot be "a?b": write one line of text, of at most 1,200 characters.'),
    (BITS, 1201 * "a", f'It cannot be "{40 * "a"}…": write one line of text, of at most 1,200 characters.'),
]

# What only a program can send, and what is said of it.
OTHER_VALUES = [
    (SEED, None, "It cannot be empty:"),
    (SEED, 10**400, "It cannot be a number that large:"),
    (SEED, True, "It cannot be true:"),
    (SEED, "7", 'It cannot be "7":'),
    (SEED, [7], "It cannot be a list:"),
    (SEED, {"a": 7}, "It cannot be an object:"),
    (SEED, math.inf, "It cannot be infinite:"),
    (MEAN, math.nan, "It cannot be NaN:"),
    (WAY, ["straight"], "It cannot be a list:"),
    (BITS, 7, "It cannot be 7:"),
    (BITS, "\ud800", 'It cannot be "?":'),
]
