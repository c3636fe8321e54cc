"""Write three small data sets with wrong labels in them: pictures, a table, texts."""

import csv
import random
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits, load_wine

WRONG = 0.05  # share of the train labels that are made wrong


def spoil(labels, classes):
    """Return the labels with some of them wrong."""
    return [
        random.choice([c for c in classes if c != label]) if random.random() < WRONG else label
        for label in labels
    ]


def write_digits(folder):
    """A folder for each split, and in it a folder for each class."""
    digits = load_digits()
    names = [str(label) for label in digits.target]
    given = spoil(names[:600], sorted(set(names))) + names[600:800]
    for number, (pixels, label) in enumerate(zip(digits.images, given)):
        path = folder / ("train" if number < 600 else "test") / label / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(path)


def write_wine(file):
    """Thirteen measurements of a wine, and the grower it comes from."""
    wine = load_wine()
    splits = ["test" if number % 4 == 0 else "train" for number in range(len(wine.target))]
    growers = [f"grower {label + 1}" for label in wine.target]
    spoiled = spoil(growers, sorted(set(growers)))
    given = [s if split == "train" else g for s, g, split in zip(spoiled, growers, splits)]
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*wine.feature_names, "split", "grower"])
        for row, split, grower in zip(wine.data, splits, given):
            writer.writerow([*row, split, grower])


def write_messages(file):
    """What customers write, and who should read it."""
    phrases = {
        "billing": ["my invoice is wrong", "charged twice", "please refund", "the price went up"],
        "delivery": ["parcel is late", "box was damaged", "wrong address", "courier never came"],
        "login": ["forgot my password", "account is locked", "no code arrives", "cannot sign in"],
    }
    openings = ["hello", "hi there", "good morning", "since monday", "again", "sorry but"]
    endings = ["please help", "thank you", "what now", "it is urgent", "call me", "any news"]
    teams = random.choices(list(phrases), k=400)
    texts = [
        " ".join([random.choice(openings), *random.sample(phrases[t], 2), random.choice(endings)])
        for t in teams
    ]
    given = spoil(teams[:300], list(phrases)) + teams[300:]
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["message", "split", "team"])
        for number, (text, team) in enumerate(zip(texts, given)):
            writer.writerow([f"{text} ({number})", "train" if number < 300 else "test", team])


if __name__ == "__main__":
    random.seed(0)
    write_digits(Path("digits"))
    write_wine(Path("wine.csv"))
    write_messages(Path("messages.csv"))
