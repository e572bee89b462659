"""What others fell into, and where it is shown that it is not so here: every trap has a test that says its name."""

from importlib import import_module

import pytest

TRAPS = {
    "a host in two priority tiers under one address exists only in the first": [
        "delivery.test_tiers.test_a_host_in_two_priority_tiers_takes_over_in_the_second",
    ],
    "a cluster that changed warms until its endpoints come": [
        "adapter.test_rest.test_a_first_request_is_never_held_and_never_answered_empty",
        "adapter.test_ads_conversation.test_a_cluster_that_changes_gets_its_endpoints_again_though_they_are_the_same",
    ],
    "of two adapters behind one address one is stale": [
        "adapter.test_rest.test_an_answer_is_never_older_than_what_the_request_has",
        "adapter.test_rest_on_envoy.test_two_adapters_one_of_them_stale_behind_one_address",
        "adapter.test_ads.test_what_an_envoy_has_that_is_newer_stays_until_the_store_has_said_what_is_right",
    ],
    "an EDS answer over REST with more than the one resource": [
        "adapter.test_rest.test_an_answer_with_endpoints_has_exactly_the_one_resource_that_was_asked_for",
    ],
    "requests have 77 KB": [
        "adapter.test_rest.test_requests_of_77_kb_are_taken_and_not_kept",
    ],
    "Envoy knows no backoff over REST": [
        "adapter.test_rest.test_what_cannot_be_answered_is_refused_with_the_reason_after_a_pause",
    ],
    "with all targets unhealthy traffic goes to the wrong one": [
        "adapter.test_switching_on_envoy.test_with_all_targets_unhealthy_the_answer_is_503_and_never_the_wrong_target",
    ],
    "the last instance goes from unhealthy to gone, and back, unnoticed": [
        "pipeline.test_ingest.test_the_last_instance_going_from_unhealthy_to_gone_and_back_is_a_change",
    ],
    "a restart with an empty memory publishes emptiness": [
        "adapter.test_files.test_a_restart_rewrites_nothing_and_loses_nothing_while_the_store_is_away",
        "adapter.test_follower.test_while_the_store_is_away_everything_stays_and_the_staleness_grows",
        "pipeline.test_catalog.test_most_of_a_catalog_vanishing_at_once_is_counted",
        "functions.test_ingest.test_most_of_a_catalog_vanishing_at_once_is_a_loud_metric",
    ],
    "ECS events come twice and out of order": [
        "model.test_sources_ecs.test_the_order_and_the_number_of_a_tasks_events_do_not_matter",
    ],
    "a gateway's address is a DNS name": [
        "model.test_events.test_an_instance_of_a_service_has_no_host_name_in_its_own_datacenter",
        "model.test_events.test_what_is_no_host_name_either_is_refused_for_a_gateway_too",
        "adapter.test_harm_on_envoy.test_a_planted_head_never_reaches_an_envoy_and_the_last_good_one_stays",
    ],
    "only ADS tells why an Envoy rejected something": [
        "adapter.test_harm_on_envoy.test_what_an_envoy_rejects_is_told_and_the_old_one_stays",
        "adapter.test_rest.test_who_asks_again_with_what_it_had_has_rejected_it",
    ],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_its_test(trap: str) -> None:
    for test in TRAPS[trap]:
        module, _, name = test.rpartition(".")
        assert callable(getattr(import_module(f"tests.{module}"), name, None)), f"there is no {test}"
