import asyncio

from reference_impl.pop.flags import CompiledFlags
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot

BROKEN = {"state": "PERHAPS"}


def definition(variant="on", **more):
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": variant,
        **more,
    }


REFERRING = definition("off", targeting={"if": [{"$ref": "insiders"}, "on", "off"]})


class Origin:
    """Writes changes in order into a store."""

    def __init__(self):
        self.store = Store()
        self.flags = CompiledFlags(self.store)

    def put(self, key, flag, org="acme"):
        seq = self.store.seq + 1
        assert self.store.apply(Change(seq, org, seq, key, flag, at=0))

    def load(self, seq, flags, org="acme"):
        states = {key: FlagState(at, flag) for key, (at, flag) in flags.items()}
        assert self.store.replace(Snapshot(seq, {org: OrgState(seq, states)}))

    def value(self, key, org="acme", **context):
        flag = self.flags.get(org, key)
        return None if flag is None else flag.evaluate(context, lambda: 0.0).value


def test_a_change_is_seen_at_once_with_its_position():
    origin = Origin()
    assert origin.value("a") is None
    origin.put("a", definition("on"))
    assert origin.value("a") is True
    origin.put("a", definition("off"))
    assert origin.value("a") is False
    assert origin.flags.get("acme", "a").version == 2
    origin.put("a", None)
    assert origin.value("a") is None


def test_organisations_are_apart():
    origin = Origin()
    origin.put("a", definition("on"), org="acme")
    assert origin.value("a", org="umbrella") is None
    assert origin.flags.of("umbrella") == {}


def test_a_flag_is_compiled_once_per_version():
    origin = Origin()
    origin.load(5, {"a": (3, definition()), "b": (4, definition())})
    a, b = origin.flags.get("acme", "a"), origin.flags.get("acme", "b")
    origin.load(7, {"a": (3, definition()), "b": (6, definition("off"))})
    assert origin.flags.get("acme", "a") is a
    assert origin.flags.get("acme", "b") is not b
    assert origin.value("b") is False


def test_a_snapshot_takes_away_what_it_does_not_have():
    origin = Origin()
    origin.put("a", definition())
    origin.put("b", definition(), org="umbrella")
    origin.load(5, {"c": (5, definition())})
    assert list(origin.flags.of("acme")) == ["c"]
    assert origin.flags.of("umbrella") == {}


def test_an_invalid_definition_keeps_the_last_good_one_and_is_counted():
    origin = Origin()
    origin.put("a", definition("on"))
    origin.put("a", BROKEN)
    assert origin.value("a") is True
    assert origin.flags.get("acme", "a").version == 1
    assert origin.flags.rejected == 1
    assert "acme: flag 'a': state" in origin.flags.rejection
    origin.load(9, {"a": (8, BROKEN)})
    assert origin.value("a") is True
    origin.put("a", definition("off"))
    assert origin.value("a") is False


def test_a_definition_that_never_was_good_is_known_but_not_served():
    origin = Origin()
    origin.put("a", BROKEN)
    assert origin.flags.get("acme", "a") is None
    assert origin.flags.knows("acme", "a")
    assert not origin.flags.knows("acme", "b")
    assert not origin.flags.knows("umbrella", "a")


def test_shared_rules_changing_recompiles_their_organisation():
    origin = Origin()
    origin.put("$evaluators", {"insiders": {"==": [{"var": "team"}, "red"]}})
    origin.put("a", REFERRING)
    assert origin.value("a", team="red") is True
    assert origin.value("a", team="blue") is False
    origin.put("$evaluators", {"insiders": {"==": [{"var": "team"}, "blue"]}})
    assert origin.value("a", team="red") is False
    assert origin.value("a", team="blue") is True
    assert "$evaluators" not in origin.flags.of("acme")


def test_taking_shared_rules_away_keeps_the_last_good_version_of_those_that_need_them():
    origin = Origin()
    origin.put("$evaluators", {"insiders": {"==": [{"var": "team"}, "red"]}})
    origin.put("a", REFERRING)
    origin.put("$evaluators", None)
    assert origin.value("a", team="red") is True
    assert origin.flags.rejected == 1


def test_a_snapshot_brings_rules_and_flags_together():
    origin = Origin()
    rules = {"insiders": {"==": [{"var": "team"}, "red"]}}
    origin.load(5, {"a": (2, REFERRING), "$evaluators": (5, rules)})
    assert origin.value("a", team="red") is True


def test_the_background_compiles_all_and_lets_others_work(virtual):
    async def course():
        origin = Origin()
        origin.load(9, {f"flag-{i}": (9, definition()) for i in range(200)})
        assert "pending=200" in repr(origin.flags)
        task = asyncio.create_task(origin.flags.run())
        while "pending=0" not in repr(origin.flags):
            await asyncio.sleep(0)
        origin.load(10, {"a": (10, definition())})
        while "pending=0" not in repr(origin.flags):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    virtual(course())


def test_the_background_yields_after_each_slice():
    async def course():
        origin = Origin()
        origin.load(9, {f"flag-{i}": (9, REFERRING | {"x": i}) for i in range(5000)})
        task = asyncio.create_task(origin.flags.run())
        turns = 0
        while "pending=0" not in repr(origin.flags):
            await asyncio.sleep(0)
            turns += 1
        task.cancel()
        return turns

    assert asyncio.run(course()) > 3


def test_a_flag_ahead_of_the_stream_is_kept_until_the_stream_brings_it():
    origin = Origin()
    origin.put("a", definition())
    assert origin.flags.keep_ahead("acme", "b", FlagState(3, definition("off"))).version == 3
    assert origin.value("b") is False
    assert list(origin.flags.of("acme")) == ["a", "b"]
    origin.put("b", definition("on"))  # position 2: the flag's creation, older than what was served
    assert origin.value("b") is False
    origin.put("b", definition("off"))
    assert origin.value("b") is False
    assert origin.flags._ahead == {}
    origin.put("b", None)
    assert origin.value("b") is None


def test_a_flag_behind_memory_was_deleted_since_and_stays_so():
    origin = Origin()
    origin.put("a", definition())
    origin.put("a", None)
    assert origin.flags.keep_ahead("acme", "a", FlagState(1, definition())) is None
    assert origin.value("a") is None


def test_an_invalid_flag_from_the_origin_is_rejected():
    origin = Origin()
    assert origin.flags.keep_ahead("acme", "a", FlagState(1, BROKEN)) is None
    assert origin.flags.rejected == 1
