"""A PoP that answers beside its own books: each twentieth evaluation is in no count, nor in what is decided by counts."""

import itertools

from reference_impl import main as platform
from reference_impl.pop.ofrep import Ofrep

EACH = 20


def careless(counted):
    """What answers as `Ofrep` does, but forgets to count now and then."""
    turns = itertools.count(1)

    def single(self, org, key):
        evaluate = counted(self, org, key)

        def answer(body):
            answered = evaluate(body)
            self.evaluations -= next(turns) % EACH == 0
            return answered

        return answer

    return single


def main(argv):
    Ofrep._single = careless(Ofrep._single)
    platform.main(argv)
