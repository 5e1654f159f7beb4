"""Requests in words, by what they ask for: instructions on documents, and questions of their own."""

from random import Random
from typing import Final

from forebay.resources.reasons import Capability

DOCUMENTS: Final = (
    "The parcel came two days late and the box was torn, but the kettle works and looks better than on the photo.",
    "Invoice 2291 of Halden Freight, 14 March 2026: 3 pallets to Gothenburg, 1,240.50 EUR, due within 30 days.",
    "Hi, I can't log in since the update. I get error 1042 and the app closes. Android 15. Please help, it's urgent!",
    "The council voted on Tuesday to close the Mill Street bridge for repairs. Traffic goes by Oak Lane until June.",
    "Patient, 54, has had a dry cough for three weeks. No fever. Takes 5 mg amlodipine daily. Chest film ordered.",
    "Dear team, the meeting with Nordwind moves to Thursday at 10. Bring the figures for April. Regards, Ilse Brandt",
    "ERROR 2026-05-02T08:11:43 payments: timeout after 3000 ms calling ledger-2, attempt 3 of 3, order 88121 lost",
    "Tenant shall pay 870 GBP by the first of each month. Either party may end this contract by two months' notice.",
    "We played in the rain and lost 0:3, but our keeper Milan Kos stopped two penalties and was the best on the pitch.",
    "Senior cook wanted in Graz: five years in fine dining, two languages, weekends free. Start in May. Good pay.",
    "The new phone has a brilliant screen and a poor battery. For 499 dollars I had expected to get through a day.",
    "Dozens of volunteers planted four hundred oaks on the old mine. The youngest of them was six years old.",
)
CLASSIFICATION: Final = (
    "Is the sentiment of this text positive, negative or neutral? Answer with one word.",
    "Assign this message to one of these categories: billing, shipping, technical problem, other.",
    "Which topic fits best: sport, politics, health, business? Reply with the topic only.",
    "Label the following text as urgent or not urgent.",
    "Does this text contain personal data? Answer yes or no.",
    "Classify the intent of the message below. Options: complaint, question, praise, request.",
    "Rate the tone from 1 (hostile) to 5 (friendly). Give only the number.",
    "Decide whether this is spam or not spam.",
    "Tag the text with exactly one label out of: news, review, ticket, contract.",
    "Route this to the right team: sales, support or legal. One word.",
)
EXTRACTION: Final = (
    "Extract all names, dates and amounts from the text as JSON.",
    "List every date that is mentioned, one per line.",
    "Pull out the company, the total and the due date. Return JSON with the keys company, total, due.",
    "Which places are named in this text? Give them as a list.",
    "Find all numbers together with their units.",
    "Return the person names that occur in the passage, separated by commas.",
    "Fill these fields from the text: who, what, when, where. Use null if missing.",
    "Quote the sentence that mentions money.",
    "Extract the key phrases of this paragraph.",
    "Identify all entities (PERSON, ORG, LOC, DATE) in the text and output them as JSON.",
)
GENERAL: Final = (
    "Summarize the text in two sentences.",
    "Rewrite this in a more polite tone.",
    "Translate the following into French.",
    "Write a short reply to this message.",
    "Write a headline for this text.",
    "Turn this into a tweet with a little humour.",
    "Explain this to a ten year old child.",
    "Continue the story with another paragraph.",
)
ALONE: Final = (
    "Write a poem about the first snow in {place}.",
    "What is the capital of {place} and what is it known for?",
    "Write a Python function that reads a CSV file and returns the mean of a column named {word}.",
    "Give me five ideas for a birthday party in {place}.",
    "Tell me about the history of {place}.",
    "Draft an email to my landlord in {place} about a broken {word}.",
    "Hello! How are you today? I am planning a trip to {place}.",
)
REASONING: Final = (
    "A train leaves {place} at 8:15 and travels {a} km at {b} km/h. When does it arrive? Think step by step.",
    "Anna has {a} apples, gives a third of them to Ben and buys {b} more. How many apples does she have now?",
    "If all wugs are blickets and no blicket is a {word}, can a wug be a {word}? Explain your reasoning.",
    "Solve for x: {a}x + {b} = {c}. Show your work.",
    "A shop raises a price of {a} dollars by {b} percent and then lowers it by {b} percent. What is the final price?",
    "Three friends share {c} euros in the ratio 2:3:5. How much does each of them get? Work it out step by step.",
    "What is the probability of drawing two red balls out of {a} red and {b} blue ones without replacement?",
    "How many ways are there to seat {b} people in a row if two of them must not sit together? Reason carefully.",
    "Prove that the sum of {a} consecutive odd numbers is divisible by {b}, or give a counterexample.",
    "A tank fills in {a} minutes by one pipe and in {b} by another. How long do both together take?",
)
_PLACES: Final = ("Oslo", "Lima", "Kyoto", "Graz", "Porto", "Accra", "Quito", "Leeds", "Turin", "Riga")
_WORDS: Final = ("price", "window", "heater", "dax", "garden", "score", "lamp", "fence")
_ON_DOCUMENTS: Final = {Capability.CLASSIFICATION: CLASSIFICATION, Capability.EXTRACTION: EXTRACTION,
                        Capability.GENERAL: GENERAL}  # fmt: skip


def words(capability: Capability, random: Random) -> str:
    """A request for this."""
    if capability is Capability.REASONING or (capability is Capability.GENERAL and random.random() < 0.5):
        pattern = random.choice(REASONING if capability is Capability.REASONING else ALONE)
        return pattern.format(place=random.choice(_PLACES), word=random.choice(_WORDS), a=random.randint(3, 300),
                              b=random.randint(2, 90), c=random.randint(100, 999))  # fmt: skip
    instruction, document = random.choice(_ON_DOCUMENTS[capability]), random.choice(DOCUMENTS)
    return f"{instruction}\n\n{document}" if random.random() < 0.7 else f"{document}\n\n{instruction}"
