"""Every bound has a name, a line in docs/limits.md and a test that reaches it; this is where that is held.

At the end are the tests of bounds that no other test reaches.
"""

import ast
import asyncio
import re
import resource
import socket
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pointsman.adapter.report import resets
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.ops import MOST_AHEAD, ops
from pointsman.discovery import stateless
from pointsman.discovery.answers import MOST_PAST, SerializedResource, make_answer
from pointsman.discovery.version import Standing, Version
from pointsman.model import regex, stored
from pointsman.model.era import LAST_EPOCH, Era
from pointsman.model.errors import LONGEST_PART, MOST_REASON, InvalidInput, shortened
from pointsman.model.events import MOST_NAME, parse_event
from pointsman.model.stale import MOST_NAMED
from pointsman.model.stored import LARGEST, Damaged
from pointsman.pipeline import recording
from pointsman.pipeline.known import MOST_SHOWN, Known
from pointsman.serve import accept, files
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.tls import ServerTls, TlsFiles
from pointsman.store import keys
from pointsman.store.protocol import StoreError

from tests.fleet.ca import CertificateAuthority
from tests.pipeline.meshes import event, instance
from tests.pipeline.place import Place

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "layers" / "pointsman" / "python" / "pointsman"
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
LOOKS_LIKE_A_BOUND = re.compile(r"_?([A-Z_]*_)?(MOST|LONGEST|LARGEST|MAX|LAST)(_[A-Z_]+)?|_?[A-Z_]+_(BYTES|SECONDS)")

REACHED_BY = {
    "tests/delivery/test_own.py": {
        "test_of_any_number_of_hosts_so_many_are_kept": ["delivery/own.py MOST_OWN", "discovery/node.py MOST_HOSTS"],
    },
    "tests/xds/test_public_listener.py": {
        "test_the_bounds_of_incoming_connections": [
            "model/inbound_bounds.py LARGEST_COUNT",
            "model/inbound_bounds.py MOST_EXPOSED",
            "xds/inbound.py LONGEST_PATH",
        ],
    },
    "tests/cli/test_checks.py": {
        "test_doctor_names_who_lacks_what_and_a_certificate_that_is_no_certificate": ["cli/checks.py MOST_NAMED"],
        "test_what_is_a_finding_and_what_is_not": [
            "cli/checks.py ENDS_WITHIN_SECONDS",
            "cli/checks.py MOST_CLOCK_SECONDS",
        ],
    },
    "tests/shadow/test_authorization.py": {
        "test_what_is_not_understood_is_compared_as_it_is_written": ["shadow/authorization.py MOST_CALLERS"],
        "test_more_conditions_than_are_compared_as_functions_are_compared_as_they_are_written": [
            "shadow/authorization.py MOST_CONDITIONS"
        ],
    },
    "tests/shadow/test_dump.py": {
        "test_what_is_no_dump_is_refused_with_what_it_is": [
            "shadow/dump.py LARGEST_DUMP_BYTES",
            "shadow/dump.py MOST_DUMP_VALUES",
        ],
        "test_an_aggregate_cluster_has_a_bounded_number_of_members_and_no_circle": [
            "shadow/backend.py MOST_MEMBERS",
            "shadow/backend.py MOST_NESTED",
        ],
    },
    "tests/shadow/test_shadow_command.py": {
        "test_what_is_shown_is_bounded_and_on_lines_of_its_own": [
            "cli/shadow.py MOST_DIFFERENCES",
            "cli/shadow.py LONGEST_SIDE",
            "shadow/endpoints.py MOST_PLACES",
        ],
        "test_an_admin_that_says_nothing_is_not_waited_for": ["cli/shadow.py ADMIN_SECONDS"],
    },
    "tests/importers/test_app_mesh.py": {
        "test_bounds_of_an_import": [
            "importers/cloudformation.py LONGEST_TEXT MOST_EXPORTS MOST_FUNCTIONS",
            "importers/gather.py MOST_RESOURCES",
            "importers/names.py LONGEST_LABEL",
        ],
        "test_what_stands_in_one_file_may_be_a_list_or_one_document_after_another": [
            "model/json_texts.py MOST_JSON_TEXTS",
        ],
    },
    "tests/importers/test_consul.py": {
        "test_many_instances_that_are_alike_are_named_in_a_few_lines": ["cli/imported.py MOST_ALIKE"],
        "test_bounds_of_an_import": ["importers/consul.py MOST_ROUNDS", "importers/consul_units.py MOST_UNITS"],
    },
    "tests/importers/test_consul_api.py": {
        "test_bounds_of_asking": [
            "importers/consul_api.py ANSWER_SECONDS",
            "importers/consul_api.py MOST_SERVICES",
            "importers/consul_api.py MOST_TRIES",
        ],
    },
    "tests/machine/test_seeing.py": {
        "test_it_is_written_on_change_once_a_minute_at_most_and_vanishes_with_its_adapter": [
            "model/seen.py TOLD_EVERY_SECONDS",
            "model/seen.py TOLD_AGAIN_SECONDS",
            "model/seen.py GONE_SECONDS",
        ],
    },
    "tests/overview/test_proxies.py": {
        "test_who_has_what_the_store_has_is_current_and_who_has_not_is_behind_once_it_should_have_been_told": [
            "overview/proxies.py MOST_MISSING",
            "overview/proxies.py ON_ITS_WAY_SECONDS",
            "overview/proxies.py TOLD_LATE_SECONDS",
        ],
        "test_what_an_adapter_tells_is_bounded_and_the_worst_is_kept": [
            "model/seen.py LONGEST_REASON",
            "model/seen.py MOST_ENVOYS",
            "model/seen.py MOST_LACKS",
        ],
        "test_over_rest_who_does_not_ask_again_has_not_taken_its_answer": [
            "adapter/rest/askers.py ASKED_SECONDS",
            "adapter/rest/askers.py MOST_ASKERS",
            "adapter/rest/askers.py PATIENCE_SECONDS",
        ],
        "test_a_terminal_shows_so_many_that_are_well_and_json_all": [
            "cli/proxies.py MOST_WELL",
            "pipeline/seen.py MOST_ADAPTERS",
        ],
    },
    "tests/machine/test_signals.py": {
        "test_a_storm_of_switches_is_counted_whole_and_a_bounded_number_of_them_is_printed": [
            "machine/witness.py MOST_TARGETS",
            "model/few.py MOST_SWITCH_LINES",
        ],
    },
    "tests/page/test_page.py": {
        "test_a_stream_says_that_something_changed_to_so_many_and_ends_with_up": [
            "page/changes.py MOST_LISTENERS",
        ],
    },
    "tests/page/test_page_bounds.py": {
        "test_so_many_services_are_shown_and_so_many_named_the_worst_first": [
            "page/matrix.py MOST_ROWS MOST_SAID",
        ],
        "test_so_many_happenings_are_drawn_and_listed_the_newest": [
            "page/timeline.py MOST_MARKS",
        ],
        "test_a_chain_has_so_many_boxes_and_their_lines_are_cut": [
            "page/picture.py LONGEST_LABEL MOST_BOXES",
        ],
        "test_pages_that_are_kept_and_what_is_on_them_has_bounds": [
            "page/pages.py LONGEST_SEARCH MOST_INSTANCES MOST_KEPT MOST_KEPT_BYTES MOST_LINES",
        ],
        "test_so_many_requests_wait_and_so_many_pages_are_made_at_a_time": [
            "page/app.py MOST_AT_ONCE MOST_REQUESTS",
        ],
        "test_a_stream_tells_of_a_store_that_is_away_and_lives_for_its_time": [
            "page/app.py BEAT_SECONDS STREAM_SECONDS",
            "page/changes.py LOOK_SECONDS",
        ],
    },
    "tests/machine/test_remote.py": {
        "test_other_machines_need_a_token_that_is_for_what_they_ask": [
            "machine/granted.py TOKENS_SECONDS",
        ],
    },
    "tests/cli/test_remote.py": {
        "test_who_does_not_answer_is_named_with_the_reason_and_the_way_out": [
            "cli/remote.py PATIENCE_SECONDS",
            "serve/ask.py CONNECT_SECONDS",
        ],
    },
    "tests/cli/test_several.py": {
        "test_so_many_control_planes_are_asked_at_once": [
            "cli/everywhere.py MOST_URLS",
        ],
        "test_so_many_differences_are_named_and_the_others_counted": [
            "cli/compared.py MOST_DIFFERENCES",
        ],
    },
    "tests/machine/test_supervised.py": {
        "test_what_stands_still_gives_no_sign_of_life_and_is_named": [
            "serve/turning.py STANDSTILL_SECONDS",
        ],
        "test_what_is_told_and_when": [
            "serve/supervisor.py LONGEST_STATUS",
        ],
    },
    "tests/model/test_tokens.py": {
        "test_what_is_no_token_is_refused": [
            "model/tokens.py LONGEST_CERTIFICATE",
            "model/tokens.py LONGEST_NAME",
            "model/tokens.py MOST_PATTERNS",
            "model/tokens.py MOST_TOKENS",
        ],
    },
    "tests/overview/test_generations.py": {
        "test_who_changed_what_when_and_what_for_is_kept_and_shown": [
            "model/note.py LONGEST_MESSAGE",
            "overview/generations.py MOST_GENERATIONS",
            "overview/generations.py MOST_NAMED",
            "cli/generations.py MOST_CHANGES",
            "cli/generations.py MOST_CLUSTERS",
        ],
    },
    "tests/overview/test_history.py": {
        "test_so_much_is_told_and_so_many_versions_are_read": [
            "overview/history.py MOST_HAPPENINGS",
            "overview/past.py MOST_VERSIONS",
            "overview/past.py SLACK_SECONDS",
        ],
    },
    "tests/overview/test_now.py": {
        "test_every_switch_names_its_cause": [
            "model/cause.py LONGEST_CAUSE",
        ],
        "test_status_shows_the_worst_first_and_ends_with_a_code_of_its_own": [
            "cli/status.py LOOK_SECONDS",
        ],
    },
    "tests/overview/test_instances.py": {
        "test_which_instance_is_ill_what_its_check_printed_and_who_said_so": [
            "cli/instances.py MOST_WELL",
            "cli/instances.py MOST_LINES",
            "cli/instances.py LONGEST_LINE",
        ],
    },
    "tests/cli/test_cli.py": {
        "test_sources_are_listed_and_forgotten": [
            "cli/source.py MOST_SHOWN",
        ],
        "test_status_shows_what_is_wrong_with_producers": [
            "cli/status.py MOST_SHOWN",
        ],
    },
    "tests/agent/test_addresses.py": {
        "test_a_look_takes_so_long_and_a_new_name_is_looked_at_next": ["agent/addresses.py LOOKUP_SECONDS"],
    },
    "tests/agent/test_bounds.py": {
        "test_a_host_has_so_many_services_checks_and_files": [
            "agent/definition.py MOST_CHECKS",
            "agent/definition.py MOST_SERVICES",
            "agent/files.py MOST_FILES",
        ],
        "test_attempts_come_less_often_and_never_more_than_so_far_apart": [
            "agent/outbox.py LONGEST_PAUSE_S",
        ],
        "test_no_more_of_an_answer_is_read_than_that": [
            "agent/control_plane.py MOST_ANSWER_BYTES",
        ],
        "test_of_a_word_over_http_so_much_is_read": [
            "agent/ttl.py MOST_BODY_BYTES",
        ],
        "test_so_many_checks_run_at_once": [
            "agent/probe.py MOST_AT_ONCE",
        ],
    },
    "tests/agent/test_paths.py": {
        "test_of_all_gateways_so_many_are_probed_and_checks_of_the_host_say_nothing_of_them": [
            "agent/paths.py MOST_PROBED",
        ],
        "test_it_is_asked_less_often_while_the_answer_is_the_same": [
            "agent/paths.py LONGEST_PAUSE_S",
        ],
        "test_a_control_plane_shows_so_many_gateways": [
            "pipeline/gateways.py MOST_SHOWN",
        ],
    },
    "tests/agent/test_registering.py": {
        "test_what_cannot_be_sent_waits_and_rights_are_found_when_they_are_there": [
            "agent/registrar.py LONGEST_PAUSE_S",
        ],
        "test_a_file_of_what_was_registered_that_cannot_be_read_counts_as_empty": [
            "agent/registered.py MOST_KEPT_BYTES",
        ],
    },
    "tests/agent/test_probe.py": {
        "test_the_exit_code_of_a_command_decides_and_all_that_it_started_ends_with_it": [
            "agent/verdict.py MOST_OUTPUT",
        ],
    },
    "tests/adapter/test_access.py": {
        "test_a_file_that_is_too_large_is_not_read": [
            "disk/access.py MOST_FILE_BYTES",
        ],
        "test_a_link_of_somebody_elses_is_refused_and_ones_own_is_not": [
            "disk/access.py MOST_LINKS",
        ],
    },
    "tests/adapter/test_ads.py": {
        "test_a_stream_on_which_nothing_is_asked_ends": [
            "adapter/ads/ads_adapter.py FIRST_REQUEST_SECONDS",
        ],
        "test_a_request_or_metadata_that_is_too_large_is_refused": [
            "adapter/ads/server.py MAX_MESSAGE_BYTES MAX_METADATA_BYTES",
        ],
    },
    "tests/adapter/test_bounds.py": {
        "test_what_an_admin_tells_is_looked_at_so_much_of": [
            "adapter/admin/watch.py MOST_REJECTED",
        ],
        "test_so_many_streams_and_the_others_are_told": [
            "adapter/ads/ads_adapter.py MOST_STREAMS",
        ],
        "test_one_connection_has_so_many_streams_and_the_next_waits_for_one_to_end": [
            "adapter/ads/server.py MOST_STREAMS_OF_ONE",
        ],
        "test_a_stream_holds_so_many_names_and_ends_beyond": [
            "adapter/ads/subscription.py MOST_NAMES",
        ],
        "test_an_envoy_that_reads_and_never_answers_is_remembered_so_much_of": [
            "adapter/ads/subscription.py MOST_REASON MOST_UNANSWERED",
        ],
        "test_files_of_hundreds_that_come_and_go": [
            "adapter/files/proxy_files.py RETIRED_SECONDS",
        ],
        "test_deleted_registrations_are_remembered_within_a_bound": [
            "adapter/follow/discovering.py MOST_ENDED",
        ],
        "test_any_number_of_proxies_come_and_go_and_what_is_kept_is_who_is_there": [
            "adapter/follow/idle.py IDLE_SECONDS",
        ],
        "test_rejections_over_http_are_kept_within_a_bound": [
            "adapter/rest/rejections.py _MOST _MOST_FOUND",
        ],
        "test_notices_that_nobody_takes_are_kept_within_a_bound_and_then_everything_is_read": [
            "aws/noticed.py MOST_HEARD_BYTES",
        ],
        "test_a_node_id_a_version_and_a_name_have_a_length": [
            "discovery/node.py LONGEST_ID",
            "discovery/request.py LONGEST_TEXT",
        ],
    },
    "tests/adapter/test_confirming.py": {
        "test_a_reading_has_a_bound_and_what_is_beyond_follows": [
            "adapter/follow/confirming.py MOST_KEYS",
        ],
        "test_resets_are_counted_once_each_and_a_bound_number_is_remembered": [
            "adapter/report/resets.py MOST_KNOWN",
        ],
    },
    "tests/adapter/test_defects.py": {
        "test_what_fails_is_kept_within_a_bound_and_let_go_when_it_is_over": [
            "adapter/report/defects.py MOST_DEFECTS",
        ],
    },
    "tests/bootstrap/test_bootstrap_grpc.py": {
        "test_bad_input_is_refused_with_the_field_and_the_reason": [
            "bootstrap/parts.py LONGEST_NAME",
            "bootstrap/server.py MOST_PLACES",
        ],
    },
    "tests/adapter/test_sds_on_envoy.py": {
        "test_what_is_no_certificate_changes_nothing": [
            "bootstrap/sds_files.py LARGEST_PEM_BYTES",
        ],
    },
    "tests/aws/test_discovery.py": {
        "test_an_answer_that_is_too_large_for_a_function_is_refused_with_the_way_out": [
            "aws/answer.py LARGEST_ANSWER_BYTES",
        ],
        "test_what_is_kept_is_bounded_and_what_went_is_read_again": [
            "discovery/memory.py MOST_BYTES",
        ],
    },
    "tests/aws/test_notices.py": {
        "test_every_head_is_told_within_the_limits_and_the_largest_by_name_alone": [
            "aws/notices.py LARGEST_BYTES _LARGEST_REQUEST_BYTES",
        ],
    },
    "tests/aws/test_uploads.py": {
        "test_nothing_else_is_ever_read": [
            "model/sources/upload.py LONGEST_KEY_BYTES",
        ],
        "test_what_is_wrong_is_refused_with_its_reasons_and_changes_nothing": [
            "model/sources/upload.py MAX_UPLOAD_BYTES",
        ],
    },
    "tests/cli/test_orders.py": {
        "test_what_is_wrong_is_refused_with_the_way_out": [
            "model/orders.py LONGEST_ORDER_SECONDS",
        ],
        "test_so_many_moves_are_shown_and_the_rest_is_counted": [
            "cli/orders.py MOST_MOVES",
        ],
    },
    "tests/chain/test_chain_limits.py": {
        "test_a_chain_has_a_named_end": [
            "chain/compiler.py MOST_REDIRECTS MOST_SPLITS MOST_SPLITTERS MOST_TARGETS",
        ],
    },
    "tests/machine/test_doors.py": {
        "test_who_connects_and_says_nothing_stops_nobody": [
            "adapter/ads/server.py MOST_CONNECTIONS",
            "serve/crowd.py MOST_CONNECTIONS",
        ],
        "test_bodies_that_do_not_end_take_no_more_memory_than_is_said": [
            "discovery/request.py MAX_BODY_BYTES",
            "serve/crowd.py MOST_HELD_BYTES",
        ],
        "test_whoever_is_asked_has_so_much_time_and_so_many_bytes_in_all": [
            "serve/ask.py MOST_ANSWER_BYTES",
        ],
    },
    "tests/api/test_config.py": {
        "test_what_is_no_generation_is_refused": [
            "api/config.py LONGEST_GENERATION",
        ],
    },
    "tests/api/test_orders.py": {
        "test_an_order_has_a_size_and_is_an_object": [
            "model/wishes.py MOST_BYTES",
        ],
    },
    "tests/machine/test_calls.py": {
        "test_so_many_requests_are_answered_at_a_time_and_so_many_wait": [
            "machine/calls.py MOST_AT_ONCE MOST_CALLS",
        ],
    },
    "tests/machine/test_passes.py": {
        "test_a_pass_takes_so_many_requests_and_so_many_bytes": [
            "machine/passes.py MOST_TOGETHER MOST_TOGETHER_BYTES",
        ],
        "test_more_than_may_wait_is_asked_for_again": [
            "machine/passes.py MOST_WAITING_BYTES",
        ],
        "test_what_is_left_of_a_pass_that_takes_too_long_is_taken_in_event_by_event": [
            "machine/passes.py PASS_SECONDS",
        ],
    },
    "tests/machine/test_refused_alone.py": {
        "test_a_list_without_a_good_one_and_one_with_too_many_faults_are_refused_as_a_whole": [
            "model/listed.py MOST_REFUSED",
        ],
    },
    "tests/machine/test_stale.py": {
        "test_an_index_that_reads_as_a_time_more_than_a_day_ahead_is_doubted": [
            "model/index_doubt.py MOST_AHEAD_SECONDS",
        ],
    },
    "tests/model/test_bounded_json.py": {
        "test_at_every_bound_it_is_read_and_beyond_it_is_refused": [
            "model/bounded_json.py MOST_DEPTH MOST_VALUES",
        ],
    },
    "tests/model/test_duration.py": {
        "test_whatever_is_written_is_a_usable_duration_or_a_reason": [
            "model/duration.py LONGEST_MS",
        ],
    },
    "tests/model/test_entries.py": {
        "test_what_is_wrong_is_refused_by_entry_field_and_reason": [
            "model/failover_policy.py LONGEST_FAILBACK_MS MOST_HEALTHY",
            "model/intentions.py MOST_TURNS",
        ],
        "test_headers_have_limits": ["model/headers.py LONGEST_HEADER_BYTES MOST_HEADERS"],
    },
    "tests/model/test_event_limits.py": {
        "test_what_is_hostile_is_refused_soon_and_in_little_memory": [
            "model/events.py MAX_PROBLEMS",
            "model/listed.py MOST_INSTANCES",
            "model/reported.py MOST_ENTRIES MOST_TEXT",
            "model/sources/text.py MOST_BYTES MOST_VALUES",
        ],
    },
    "tests/machine/test_silence.py": {
        "test_how_often_leases_are_looked_at_follows_from_the_shortest": [
            "machine/observing.py LONGEST_S",
        ],
    },
    "tests/aws/test_order_wakes.py": {
        "test_a_wake_is_sent_for_the_next_order_that_ends_and_again_where_that_is_far_away": [
            "aws/delays.py LONGEST_DELAY_SECONDS",
        ],
        "test_a_wake_that_was_lost_is_sent_again_by_a_reconcile_and_one_that_comes_twice_does_nothing": [
            "aws/delays.py LATE_SECONDS",
        ],
    },
    "tests/aws/test_waits.py": {
        "test_what_waits_for_hours_is_woken_every_quarter_of_an_hour": [
            "aws/delays.py LONGEST_DELAY_SECONDS",
        ],
        "test_a_wake_that_is_late_returns_traffic_then_and_one_that_is_lost_is_sent_by_reconcile": [
            "aws/delays.py LATE_SECONDS",
        ],
    },
    "tests/aws/test_wakes.py": {
        "test_the_wakes_end_with_the_last_lease_and_begin_again_with_the_next": [
            "aws/delays.py LONGEST_DELAY_SECONDS",
        ],
        "test_a_wake_whose_function_dies_comes_again_and_one_that_was_lost_is_sent_by_reconcile": [
            "aws/delays.py LATE_SECONDS",
        ],
    },
    "tests/model/test_leases.py": {
        "test_what_is_no_lease_is_refused_with_the_way_out": [
            "model/events.py LONGEST_LEASE_MS",
        ],
        "test_the_catalogs_of_a_source_are_noted_up_to_a_bound": [
            "model/lease.py MOST_CATALOGS",
        ],
    },
    "tests/pipeline/test_calm.py": {
        "test_of_too_many_that_wait_all_are_computed_at_the_first_moment": [
            "pipeline/waits.py MOST_WAITS",
        ],
    },
    "tests/machine/test_calm.py": {
        "test_what_another_process_noted_is_found_by_the_next_look": [
            "machine/looking.py LOOK_SECONDS",
        ],
    },
    "tests/pipeline/test_troubles.py": {
        "test_a_sender_is_a_short_name": [
            "model/events.py LONGEST_SENDER",
        ],
        "test_so_many_senders_of_a_source_are_remembered": [
            "model/lease.py MOST_SENDERS",
        ],
        "test_trouble_has_its_bounds": [
            "model/trouble.py KEPT_SECONDS LONGEST_TEXT MOST_TROUBLED NOTED_EVERY_SECONDS",
        ],
        "test_a_status_has_so_many_findings": [
            "overview/now.py MOST_FINDINGS",
        ],
    },
    "tests/aws/test_task_looks.py": {
        "test_a_cluster_with_too_many_tasks_is_not_looked_at": [
            "aws/task_looks.py MOST_TASKS",
        ],
    },
    "tests/machine/test_task_looking.py": {
        "test_up_looks_at_what_runs_and_says_when_it_cannot": [
            "machine/task_looking.py LOOK_EVERY_SECONDS",
        ],
    },
    "tests/pipeline/test_task_lists.py": {
        "test_each_part_of_a_list_speaks_of_its_own_ids_alone": [
            "aws/task_looks.py LARGEST_EVENT_BYTES",
        ],
        "test_a_list_that_is_none_is_refused": [
            "model/sources/task_list.py MOST_LISTED",
        ],
        "test_a_task_that_nobody_spoke_of_for_long_enough_is_gone_and_one_that_was_listed_alone_is_there": [
            "pipeline/task_lists.py SETTLED_SECONDS",
        ],
        "test_so_many_clusters_are_looked_at": [
            "model/sources/task_claim.py MOST_CLUSTERS",
        ],
    },
    "tests/pipeline/test_leases.py": {
        "test_a_datacenter_has_so_many_sources_with_leases_and_no_more": [
            "pipeline/renewals.py MOST_SOURCES",
        ],
    },
    "tests/model/test_orders.py": {
        "test_whatever_is_ordered_revisions_only_grow_and_the_same_ones_mean_the_same_orders": [
            "model/orders.py MOST_ENDED MOST_SCOPES",
        ],
        "test_no_more_orders_are_in_force_than_a_bound": [
            "model/orders.py MOST_IN_FORCE",
        ],
        "test_an_order_has_a_reason_of_one_line": [
            "model/orders.py LONGEST_REASON",
        ],
    },
    "tests/pipeline/test_drill.py": {
        "test_what_else_switches_during_a_drill_is_reported_up_to_a_bound": [
            "pipeline/drill.py MOST_SWITCHES",
        ],
    },
    "tests/pipeline/test_orders.py": {
        "test_a_refusal_names_so_many_and_counts_the_rest": [
            "pipeline/give.py MOST_OBJECTIONS",
        ],
    },
    "tests/cli/test_what_if.py": {
        "test_a_directory_is_read_as_a_whole": [
            "cli/documents.py MOST_FILES MOST_LEVELS",
        ],
        "test_so_much_is_shown_and_the_rest_is_counted": [
            "cli/changes.py LONGEST_VALUE MOST_FIELDS",
            "cli/what_if.py MOST_LINES",
        ],
    },
    "tests/api/test_what_if.py": {
        "test_what_cannot_be_supposed_is_refused": [
            "api/what_if.py MOST_DOWN",
        ],
    },
    "tests/pipeline/test_what_if.py": {
        "test_an_answer_has_so_much_and_counts_the_rest": [
            "pipeline/what_if_report.py MOST_TOLD",
        ],
    },
    "tests/machine/test_orders.py": {
        "test_orders_are_looked_at_when_the_next_one_ends_and_every_few_seconds": [
            "machine/looking.py LOOK_SECONDS",
        ],
    },
    "tests/model/test_events.py": {
        "test_what_is_refused_is_told_with_its_field_and_reason": [
            "model/events.py MAX_NUMBER",
        ],
    },
    "tests/model/test_filters.py": {
        "test_what_a_filter_may_cost_is_bounded": [
            "model/filters/language.py LONGEST_FILTER MOST_CONDITIONS MOST_INSTRUCTIONS MOST_LEVELS",
        ],
    },
    "tests/model/test_hostile_config.py": {
        "test_every_hostile_file_is_refused_with_its_reason_soon_and_in_little_memory": [
            "model/complaints.py MOST_PROBLEMS",
            "model/hcl.py MOST_HCL_VALUES",
            "model/loading.py LARGEST_FILE_BYTES MOST_BYTES MOST_YAML_VALUES",
            "model/resolver.py MOST_FAILOVER_TARGETS MOST_SUBSETS",
            "model/conditions.py MOST_MATCH_INSTRUCTIONS",
            "model/size.py LONGEST_TEXT MOST_ENTRY_VALUES MOST_ITEMS",
            "pipeline/configure.py MOST_DOCUMENTS",
        ],
    },
    "tests/model/test_regex.py": {
        "test_what_is_no_regular_expression_is_refused_wherever_one_is_written": [
            "model/regex.py LONGEST_REGEX _COMPILE_BYTES",
        ],
        "test_filters_that_would_take_minutes_stop_their_own_cluster_alone": [
            "model/regex.py MOST_STEPS",
        ],
    },
    "tests/pipeline/test_catalog.py": {
        "test_what_is_stored_of_tasks_that_are_gone_is_bounded": [
            "model/catalog.py MOST_GONE",
        ],
        "test_the_bound_holds_for_checks_that_nobody_said_the_place_of": [
            "model/catalog.py MOST_ORPHANS",
        ],
    },
    "tests/pipeline/test_build.py": {
        "test_a_large_config_is_written_in_parts_between_which_others_get_their_turn": [
            "pipeline/objects.py WRITTEN_AT_ONCE_BYTES",
        ],
    },
    "tests/pipeline/test_configure.py": {
        "test_gateways_pass_on_no_more_services_than_a_bound_and_it_is_told_which_are_left_out": [
            "pipeline/rosters.py MOST_PASSED_ON",
        ],
    },
    "tests/pipeline/test_kept.py": {
        "test_what_is_kept_is_bounded_by_bytes_and_the_least_recently_used_goes_first": [
            "pipeline/kept.py MOST_KEPT_BYTES",
        ],
        "test_config_objects_in_memory_are_bounded_by_bytes_as_stored": [
            "pipeline/objects.py MOST_OBJECT_BYTES",
        ],
    },
    "tests/pipeline/test_notify.py": {
        "test_no_more_notices_are_kept_than_a_bound": [
            "pipeline/untold.py MOST_UNTOLD",
        ],
    },
    "tests/serve/test_crowd.py": {
        "test_what_is_too_large_is_refused_and_the_connection_ends": [
            "serve/connection.py MOST_AHEAD MOST_HEAD_BYTES MOST_HEADERS",
            "serve/crowd.py LINGER_SECONDS",
        ],
        "test_who_takes_too_long_is_told_so_and_gone": [
            "serve/crowd.py BODY_SECONDS FIRST_BYTE_SECONDS HEAD_SECONDS IDLE_SECONDS",
        ],
        "test_who_does_not_take_in_its_answer_is_gone": [
            "serve/crowd.py SEND_SECONDS",
        ],
    },
    "tests/store/test_s3.py": {
        "test_of_so_many_lost_writes_is_known_with_which_etag_they_lost": [
            "store/s3.py MOST_LOST",
        ],
        "test_what_others_wrote_is_looked_for_once_a_second": [
            "store/s3.py COMPARED_SECONDS",
        ],
        "test_who_fell_behind_what_this_store_wrote_compares_everything": [
            "store/own_writes.py MOST_OWN_WRITES",
        ],
    },
    "tests/store/test_sqlite.py": {
        "test_a_log_that_grew_while_somebody_read_is_cut_when_that_is_over": [
            "store/sqlite.py _LONG_LOG_BYTES",
        ],
    },
    "tests/test_limits.py": {
        "test_readiness_names_so_many_envoys_that_are_ahead": [
            "adapter/report/ops.py MOST_AHEAD",
        ],
        "test_so_many_resets_are_shown": [
            "adapter/report/resets.py MOST_SHOWN",
        ],
        "test_an_answer_knows_so_many_versions_to_be_its_own_past": [
            "discovery/answers.py MOST_PAST",
        ],
        "test_the_function_keeps_the_answers_of_so_many_proxies": [
            "discovery/stateless.py MOST_PROXIES",
        ],
        "test_the_epoch_of_a_store_has_an_end": [
            "model/era.py LAST_EPOCH",
        ],
        "test_a_part_of_a_problem_is_cut": [
            "model/errors.py LONGEST_PART MOST_REASON",
        ],
        "test_the_id_and_the_time_of_an_event_have_a_length": [
            "model/events.py MOST_NAME",
        ],
        "test_so_many_regular_expressions_are_kept_compiled": [
            "model/regex.py _MOST_COMPILED _SEARCH_BYTES",
        ],
        "test_an_answer_names_so_many_stale_instances_and_counts_the_rest": [
            "model/stale.py MOST_NAMED",
        ],
        "test_numbers_in_stored_objects_have_an_end": [
            "model/stored.py LARGEST",
        ],
        "test_a_catalog_has_a_size_and_what_makes_less_of_it_is_taken": [
            "pipeline/recording.py MOST_CATALOG_BYTES",
        ],
        "test_an_error_lists_so_many_names": [
            "pipeline/known.py MOST_SHOWN",
        ],
        "test_a_tls_handshake_has_its_time": [
            "serve/accept.py HANDSHAKE_SECONDS",
        ],
        "test_a_process_lets_itself_open_so_many_files": [
            "serve/files.py _MOST_FILES",
        ],
    },
    "tests/xds/test_kept.py": {
        "test_so_many_clusters_stay_in_memory_and_none_that_is_large": [
            "xds/content.py LARGEST_CLUSTER_BYTES MOST_CLUSTERS MOST_CLUSTER_TARGETS",
        ],
        "test_so_many_endpoints_stay_in_memory": [
            "xds/assignment.py MOST_ENDPOINTS",
        ],
    },
}
"""By test, the bounds that it reaches: a file and its constants."""

REACHED = {
    f"{path} {name}"
    for tests in REACHED_BY.values()
    for bounds in tests.values()
    for path, *names in map(str.split, bounds)
    for name in names
}

NO_BOUNDS = {
    "adapter/ads/server.py _MOST_REFUSED": "room for telling why, beside MOST_STREAMS",
    "adapter/follow/idle.py LOOK_SECONDS": "how often somebody looks",
    "aws/noticed.py _KEY_BYTES": "what something counts for",
    "delivery/endpoint_source.py _LONGEST": "beyond it a name is shortened, and stays one of its own",
    "discovery/stateless.py _LONGEST": "of what a message quotes",
    "disk/access.py _MOST_DIGITS": "of a number in /proc",
    "xds/inbound.py LAST_PORT": "of TCP",
    "xds/public_listener.py KEEPALIVE_SECONDS": "what connections are probed with",
    "model/instance.py MOST_WEIGHT": "Envoy's: what is greater is taken for it",
    "machine/process.py _DISCOVERY_SECONDS": "how often somebody looks",
    "machine/seeing.py LOOK_SECONDS": "how often somebody looks",
    "machine/seeing.py _LEAVE_SECONDS": "of an end that nothing depends on",
    "model/bounded_json.py _PIECE_BYTES": "how much is looked at in one step",
    "model/complaints.py _LONGEST_INPUT": "of what a message quotes",
    "model/duration.py _LONGEST": "LONGEST_MS in nanoseconds",
    "model/duration.py _LONGEST_TEXT": "longer than any duration",
    "model/filters/errors.py _LONGEST_WORD": "of what a message quotes",
    "model/hcl.py _LONGEST_NUMBER": "longer than any number",
    "model/loading.py _LONGEST_NUMBER": "longer than any number",
    "model/stale.py _MOST_INDEX": "the greatest index that there is, which is MAX_NUMBER",
    "pipeline/shards.py _MAX_BITS": "how finely a map is cut",
    "serve/listen.py _LONGEST": "the system's, of a socket's path",
    "serve/progress.py EVERY_SECONDS": "how often progress is told",
    "store/sqlite.py _MOST_DIGITS": "of a number that SQLite takes",
}
"""What only looks like one."""

NOT_ON_THE_PAGE = {
    "aws/notices.py _LARGEST_REQUEST_BYTES",
    "pipeline/known.py MOST_SHOWN",
    "model/loading.py MOST_BYTES",
}
"""Nobody meets these."""


def constants() -> dict[str, set[str]]:
    """By file of the library, its constants."""
    found: dict[str, set[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        targets = [
            each.targets[0] if isinstance(each, ast.Assign) else each.target
            for each in body
            if isinstance(each, ast.Assign | ast.AnnAssign)
        ]
        names = {each.id for each in targets if isinstance(each, ast.Name) and each.id.isupper()}
        found[path.relative_to(LIBRARY).as_posix()] = names
    return found


def test_every_constant_that_looks_like_a_bound_has_a_test_that_reaches_it() -> None:
    found = {
        f"{path} {name}" for path, names in constants().items() for name in names if LOOKS_LIKE_A_BOUND.fullmatch(name)
    }
    known = REACHED | NO_BOUNDS.keys()
    assert found - known == set(), "write a test that reaches the bound, and name it in REACHED_BY"
    assert known - found == set(), "there is no such constant"


def test_the_tests_that_reach_bounds_are_there() -> None:
    for path, tests in REACHED_BY.items():
        body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        assert tests.keys() - {each.name for each in body if isinstance(each, ast.FunctionDef)} == set(), path


def test_the_page_of_limits_names_every_bound_and_nothing_else() -> None:
    named = set()
    for row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE):
        path = ""
        for word in re.findall(r"`([\w/.]+)`", row.split("|")[3]):
            if word.endswith(".py"):
                path = word
            elif word.isupper():
                named.add(f"{path} {word}")
    there = {f"{path} {name}" for path, names in constants().items() for name in names}
    assert named - there == set(), "there is no such constant"
    assert REACHED - named - NOT_ON_THE_PAGE == set(), "add a line to docs/limits.md"


def test_readiness_names_so_many_envoys_that_are_ahead() -> None:
    ahead = [f"envoy {number}" for number in range(MOST_AHEAD + 5)]
    app = ops(Metrics(lambda: 0.0, str), str, dict, ahead=lambda: ahead)
    pages: dict[str, Callable[[Any], Any]] = {each.path: each.endpoint for each in app.routes}  # type: ignore[attr-defined]
    assert orjson.loads(pages["/readyz"](None).body)["ahead"] == ahead[:MOST_AHEAD]
    assert orjson.loads(pages["/rejections"](None).body)["ahead"] == ahead


def test_so_many_resets_are_shown() -> None:
    found = resets.Resets()
    for number in range(resets.MOST_SHOWN + 5):
        found.note(f"object {number}", "from 2 to 1")
    assert [each["what"] for each in found.all()] == [f"object {n}" for n in range(5, resets.MOST_SHOWN + 5)]


def test_an_answer_knows_so_many_versions_to_be_its_own_past() -> None:
    at = Version.of((7, 1, 1), era=Era("a", 1))
    answers = []
    previous = None
    for number in range(MOST_PAST + 2):
        previous = make_answer(at, "type", [SerializedResource("type", b"%d" % number)], previous)
        answers.append(previous)
    *past, last = answers
    assert [last.stands(each.version) for each in past] == [Standing.CONFLICT] + [Standing.NEWER] * MOST_PAST


def test_the_function_keeps_the_answers_of_so_many_proxies() -> None:
    kept: OrderedDict[int, int] = OrderedDict()
    for number in range(stateless.MOST_PROXIES + 5):
        stateless._remember(kept, 0, 0)
        stateless._remember(kept, number, number)
    assert len(kept) == stateless.MOST_PROXIES
    assert {0, stateless.MOST_PROXIES + 4} <= kept.keys(), "the one that is used least goes"


def test_a_part_of_a_problem_is_cut() -> None:
    error = InvalidInput.single("thing", "field", "x" * (LONGEST_PART + 1))
    assert str(error) == f"thing: field: {'x' * LONGEST_PART}…"
    assert shortened("x" * (MOST_REASON + 1)) == "x" * MOST_REASON


def test_an_error_lists_so_many_names() -> None:
    known = Known(frozenset(), frozenset(f"dc{number:02}" for number in range(MOST_SHOWN + 2)))
    with pytest.raises(InvalidInput, match=r"known are: dc00, .*, dc09 and 2 more"):
        known.check_datacenter("status", "--dc", "dc99")


def test_numbers_in_stored_objects_have_an_end() -> None:
    assert stored.number({"serial": LARGEST}, "serial") == LARGEST
    with pytest.raises(Damaged, match="its serial is"):
        stored.number({"serial": LARGEST + 1}, "serial")


def test_the_epoch_of_a_store_has_an_end() -> None:
    engine = Place().engine
    assert engine.next_era(Era("a", LAST_EPOCH - 1)) == Era("a", LAST_EPOCH)
    with pytest.raises(StoreError, match=f"cannot grow beyond {LAST_EPOCH}"):
        engine.next_era(Era("a", LAST_EPOCH))


def test_so_many_regular_expressions_are_kept_compiled() -> None:
    regex.searcher.cache_clear()
    for each in range(regex._MOST_COMPILED + 5):
        assert regex.searcher(f"a{each}")(f"a{each}")
    assert regex.searcher.cache_info().currsize == regex._MOST_COMPILED
    # With little memory to search in, it still finds what is there.
    assert regex.searcher("(x[ab]{0,60}){1,8}y")("xab" * 100_000 + "y")


def test_the_id_and_the_time_of_an_event_have_a_length() -> None:
    for field in ("id", "time"):
        for length, refused in ((MOST_NAME, False), (MOST_NAME + 1, True)):
            with pytest.raises(InvalidInput) as error:
                parse_event({"detail-type": "Service Health Changed", "detail": {}, field: "x" * length})
            assert (f"has {length} characters; {MOST_NAME} are the most" in str(error.value)) is refused


def test_an_answer_names_so_many_stale_instances_and_counts_the_rest() -> None:
    place, count = Place(), MOST_NAMED + 5
    place.ingest(event("api", 7, [instance("api", number) for number in range(count)]))
    stale = place.ingest(event("api", 5, [instance("api", number, "critical") for number in range(count)])).stale
    assert stale is not None
    assert (len(stale.instances), stale.count) == (MOST_NAMED, count)


def test_a_catalog_has_a_size_and_what_makes_less_of_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    place, key = Place(), keys.catalog("dc1/service/default/api")
    few, many = ([instance("api", number) for number in range(count)] for count in (3, 50))
    place.ingest(event("api", 1, many))
    before = place.objects.objects[key]
    monkeypatch.setattr(recording, "MOST_CATALOG_BYTES", len(before.data) // 2)
    with pytest.raises(InvalidInput, match=r"larger than \d+ bytes; nothing was changed; remove"):
        place.ingest(event("api", 2, [instance("api", number) for number in range(60)]))
    assert place.objects.objects[key] == before
    place.ingest(event("api", 3, few))
    assert len(place.objects.objects[key].data) < len(before.data)


def test_a_process_lets_itself_open_so_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: allowed.append(limits))
    files.allow_files()
    assert allowed == [(files._MOST_FILES, resource.RLIM_INFINITY)]


def test_a_tls_handshake_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "HANDSHAKE_SECONDS", 0.2)
    authority = CertificateAuthority(tmp_path, "td")
    own = authority.issue("adapter", "dc1")
    tls = ServerTls(TlsFiles(own.certificate, own.private_key, authority.file))
    server = HttpServer(lambda scope, receive, send: asyncio.sleep(0), Listen.read("127.0.0.1:0", "--http"), tls)
    server.start()
    try:
        place = ("127.0.0.1", int(server.address.rpartition(":")[2]))
        with socket.create_connection(place, timeout=30) as silent:
            assert silent.recv(1) == b"", "closed, long before the time of this test is over"
    finally:
        server.stop()
