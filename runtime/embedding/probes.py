"""The texts by which a back end is compared with fp32: short and long, several languages, code, what is odd.

Question number N is answered by passage number N.
"""

from __future__ import annotations

PASSAGES = (
    "The river rises in the mountains, crosses two borders and reaches the sea after nine hundred kilometres.",
    "To make bread, mix flour, water, yeast and salt, knead for ten minutes, let the dough rise and bake it at 230 °C.",
    "Der Mietvertrag kann von beiden Seiten mit einer Frist von drei Monaten zum Ende eines Monats gekündigt werden.",
    "def fibonacci(n):\n    a, b = 0, 1\n    while n:\n        a, b, n = b, a + b, n - 1\n    return a",
    "Invoice 2024-117: 12 office chairs at EUR 189.00 each, total EUR 2,268.00 plus 19 % VAT, payable within 14 days.",
    "The vaccine is given in two doses four weeks apart; a sore arm and a light fever on the next day are common.",
    "Le musée est ouvert tous les jours sauf le lundi, de dix heures à dix-huit heures; l'entrée coûte neuf euros.",
    "HTTP status 429 means that a client has sent too many requests; the header Retry-After says how long to wait.",
    "The goalkeeper saved two penalties, and the visitors won the cup final by four goals to three after extra time.",
    "Tomatoes want six hours of sun, a stake to climb, and water at the roots, never on the leaves, or blight follows.",
    "Replace the timing belt every 120,000 km. If it breaks while the engine runs, the valves strike the pistons.",
    "El tren de alta velocidad entre Madrid y Barcelona tarda dos horas y media y sale cada treinta minutos.",
    "A black hole is a region from which not even light escapes; its border is called the event horizon.",
    "The committee met on 3 March, approved the budget of the library, and put off the question of new opening hours.",
    "Sauvegardez la base de données chaque nuit et vérifiez une fois par mois que la copie peut être restaurée.",
    "In 1913 the canal was closed to ships of more than three metres' draught, and the harbour lost half of its trade.",
    "Bees tell each other where flowers are by a dance: its angle gives the direction, its length the distance.",
    "The warranty covers defects of material for two years; it does not cover damage by water, misuse or opened cases.",
    "A violin has four strings tuned in fifths; moving the bow nearer to the bridge makes the sound brighter.",
    "Die Grundschule sucht Freiwillige, die Kindern nachmittags vorlesen; eine Stunde in der Woche genügt.",
    "Interest is compounded monthly: a loan of 10,000 at 6 % over five years costs 193.33 a month.",
    "Never look at the sun through a telescope without a filter on the lens: the eye is burnt in an instant.",
    "SELECT customer, SUM(amount) FROM orders WHERE year = 2024 GROUP BY customer HAVING SUM(amount) > 1000;",
    "冬天的北京很冷，但是天空常常很蓝。周末人们去公园的湖上滑冰。",
)

QUESTIONS = (
    "Where does the river begin and how long is it?",
    "recipe for baking a loaf",
    "Wie kündige ich meine Wohnung?",
    "python function for the Fibonacci numbers",
    "How much did the chairs cost?",
    "side effects of the injection",
    "Quand peut-on visiter le musée ?",
    "What should I do when the server answers too many requests?",
    "Who won the football final?",
    "growing tomatoes in the garden",
    "when must the timing belt of the engine be changed",
    "¿Cuánto dura el viaje en tren a Barcelona?",
    "What is an event horizon?",
    "What was decided about the library's budget?",
    "Comment sauvegarder la base de données ?",
    "Why did the harbour lose trade?",
    "how do bees say where food is",
    "Is water damage covered by the guarantee?",
    "tuning of a stringed instrument",
    "Kindern in der Schule vorlesen",
    "monthly payment of a loan",
    "danger for the eyes when watching the sun",
    "SQL query for customers with large orders",
    "北京的冬天",
)

ODD = ("x", "?!", "   ", "🙂 🚀", "0" * 300, "word " * 600)
"""What no text should be, and is."""


def texts() -> list[str]:
    """All of them, and longer ones made of them: from one token to more than any model reads."""
    longer = [" ".join(PASSAGES[first : first + count]) for first, count in ((0, 2), (5, 4), (9, 8), (0, 24))]
    return [*PASSAGES, *QUESTIONS, *ODD, *longer]
