"""How a run comes to its policy: by option, by profile, and with a word where there is none of that name."""

from __future__ import annotations

import pytest

from vibeserve_tui.agents.protocol import Role
from vibeserve_tui.errors import ProfileError
from vibeserve_tui.inputs.profiles import load_profile
from vibeserve_tui.policies import asked_by, policy_names
from vibeserve_tui.starting import Wanted, plan_run


def test_three_policies_are_there_and_each_names_the_role_that_plans():
    assert {name: asked_by(name) for name in policy_names()} == {
        "agent": Role.ORCHESTRATOR,
        "evolve": Role.MUTATOR,
        "plain": Role.ORCHESTRATOR,
    }


@pytest.mark.parametrize("name", policy_names())
def test_the_order_says_which_policy_and_with_which_settings(name):
    plan = plan_run(Wanted(policy=name))
    assert plan.policy == name
    assert plan.settings["evolve"]["frontier_bias"] == 0.7
    assert plan.settings["plain"]["further"] == 3


def test_a_policy_that_does_not_exist_is_refused_before_anything_starts():
    with pytest.raises(ProfileError, match=r"'evolv'; did you mean 'evolve'\?") as caught:
        plan_run(Wanted(policy="evolv"))
    assert caught.value.exit_code == 2


def test_a_profile_may_name_a_policy_and_set_it(tmp_path):
    path = tmp_path / "breeding.toml"
    path.write_text('schema = 1\ntitle = "x"\npolicy = "evolve"\n\n[evolve]\nfrontier_bias = 0.5\nbest = 1\n')
    plan = plan_run(Wanted(profile=str(path)))
    assert plan.policy == "evolve"
    assert plan.settings["evolve"] == {"frontier_bias": 0.5, "temperature": 0.5, "best": 1, "others": 2}


def test_a_setting_out_of_its_range_is_named(tmp_path):
    path = tmp_path / "breeding.toml"
    path.write_text('schema = 1\ntitle = "x"\n\n[evolve]\nfrontier_bias = 1.5\n')
    with pytest.raises(ProfileError, match="frontier_bias"):
        load_profile(str(path))
