"""What infra/template.yaml promises beyond what the engine's tests would notice."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from pointsman.bootstrap.function import FetchFunction

from tests.adapter.rest import NODE
from tests.aws.harness import Aws
from tests.aws.mesh import CONFIG, s2, start
from tests.aws.policy import allows, statements
from tests.aws.template import ACCOUNT, REGION, TEMPLATE, Stack, source, translated
from tests.fleet.process import REPOSITORY

FUNCTIONS = ("Ingest", "Configure", "Reconcile", "Discovery")
Json = dict[str, Any]

SETTINGS = REPOSITORY / "infra/samconfig.toml"
"""Those of the SAM command line."""


@pytest.fixture(scope="module")
def stack() -> Stack:
    return Stack()


def refs(value: Any) -> Iterator[str]:
    """Every resource that a value names with Ref."""
    if isinstance(value, dict):
        if value.keys() == {"Ref"}:
            yield value["Ref"]
        for each in value.values():
            yield from refs(each)
    elif isinstance(value, list):
        for each in value:
            yield from refs(each)


def chosen(stack: Stack, statements: list[Json]) -> list[Json]:
    """The statements that are in force: some are under a condition."""
    found = []
    for each in statements:
        if "Fn::If" in each:
            condition, *ways = each["Fn::If"]
            each = ways[not stack.holds(condition)]
        if each != {"Ref": "AWS::NoValue"}:
            found.append(each)
    return found


def test_every_function_of_the_repository_is_in_the_template_and_snaps_from_published_versions(stack: Stack) -> None:
    folders = {path.parent.name for path in (REPOSITORY / "functions").glob("*/handler.py")}
    found = dict(stack.of("AWS::Lambda::Function"))
    assert {name.lower() for name in found} == folders
    for name, properties in found.items():
        assert properties["Runtime"] == "python3.13", name
        assert stack.value(properties["Architectures"]) == ["arm64"], name
        assert properties["SnapStart"] == {"ApplyOn": "PublishedVersions"}, name
        assert len(properties["Layers"]) == 1, name
        assert stack.value(properties["TracingConfig"]) == {"Mode": "PassThrough"}, name
    x86 = Stack({"Architecture": "x86_64"})
    assert x86.value(dict(x86.of("AWS::Lambda::Function"))["Ingest"]["Architectures"]) == ["x86_64"]


def test_every_trigger_names_the_alias(stack: Stack) -> None:
    aliases = {name for name, _ in stack.of("AWS::Lambda::Alias")}
    assert aliases == {f"{name}Aliaslive" for name in FUNCTIONS}
    triggers: list[tuple[str, Any]] = []
    triggers += [(name, each["FunctionName"]) for name, each in stack.of("AWS::Lambda::EventSourceMapping")]
    triggers += [(name, each["TargetFunctionArn"]) for name, each in stack.of("AWS::Lambda::Url")]
    triggers += [(name, each["FunctionName"]) for name, each in stack.of("AWS::Lambda::Permission")]
    for name, rule in stack.of("AWS::Events::Rule"):
        triggers += [(name, each["Arn"]) for each in rule["Targets"] if "Ref" in each["Arn"]]
    assert {name for name, _ in triggers} >= {"IngestRecords", "ConfigureUrl", "ReconcileTimer", "DiscoveryUrl"}
    for name, target in triggers:
        assert target["Ref"] in aliases, f"{name} would run what was not published, without SnapStart"
    for name, policy in stack.of("AWS::IAM::ManagedPolicy"):
        assert not {*refs(policy)} & set(FUNCTIONS), f"{name} allows what no alias stands for"


def test_who_may_call_a_function_url_needs_two_permissions_and_gets_no_other_way_in(stack: Stack) -> None:
    urls = dict(stack.of("AWS::Lambda::Url"))
    assert set(urls) == {"ConfigureUrl", "DiscoveryUrl"}
    assert {each["AuthType"] for each in urls.values()} == {"AWS_IAM"}, "anything else is open to the world"
    allowed = {}
    for name, policy in stack.of("AWS::IAM::ManagedPolicy"):
        listed = chosen(stack, policy["PolicyDocument"]["Statement"])
        found = [each for each in listed if str(each["Action"]).startswith("lambda:")]
        for statement in found:
            (alias,) = refs(statement["Resource"])
            allowed[name, statement["Action"]] = alias, statement.get("Condition")
    only_by_url = {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
    assert allowed == {
        ("DeployerPolicy", "lambda:InvokeFunctionUrl"): ("ConfigureAliaslive", None),
        ("DeployerPolicy", "lambda:InvokeFunction"): ("ConfigureAliaslive", only_by_url),
        ("EnvoyPolicy", "lambda:InvokeFunctionUrl"): ("DiscoveryAliaslive", None),
        ("EnvoyPolicy", "lambda:InvokeFunction"): ("DiscoveryAliaslive", only_by_url),
    }


def test_an_envoy_waits_longer_than_the_function_takes_and_polls_as_the_stack_says() -> None:
    with Aws(RefreshDelay="7", DiscoveryConcurrency="50", Sds="spire") as aws:
        start(aws)
        function = aws.stack.resources["Discovery"]["Properties"]
        assert str(aws.stack.value(function["ReservedConcurrentExecutions"])) == "50"
        answer = aws.request("Discovery", "POST", "/v3/discovery:clusters", {"node": NODE})[1]
        api = answer["resources"][0]["eds_cluster_config"]["eds_config"]["api_config_source"]
        assert api["refresh_delay"] == "7s"
        tls = answer["resources"][0]["transport_socket"]["typed_config"]["common_tls_context"]
        (identity,) = tls["tls_certificate_sds_secret_configs"]
        assert (identity["name"], "sds_config" in identity) == ("default", True)
        assert float(api["request_timeout"].rstrip("s")) > function["Timeout"]
        assert FetchFunction("", "").request_timeout_ms / 1000 > function["Timeout"]
    function = Stack().resources["Discovery"]["Properties"]
    # The intrinsic for no value at all.
    assert Stack().value({"it": function["ReservedConcurrentExecutions"]}) == {}


def version(template: Mapping[str, Any]) -> str:
    (name,) = (
        name
        for name, each in template["Resources"].items()
        if each["Type"] == "AWS::Lambda::Version" and each["Properties"]["FunctionName"] == {"Ref": "Ingest"}
    )
    return str(name)


def test_new_code_and_a_new_layer_each_publish_a_new_version_and_nothing_else_does() -> None:
    def code(template: Json) -> None:
        template["Resources"]["Ingest"]["Properties"]["CodeUri"] += ".new"

    def layer(template: Json) -> None:
        template["Resources"]["Layer"]["Properties"]["ContentUri"] += ".new"

    before = version(translated({}))
    assert version(translated({})) == before
    assert len({before, version(translated({}, code)), version(translated({}, layer))}) == 3


OF_NO_VERSION = {"DiscoveryConcurrency"}
"""Parameters that a function has and no published version of it: they are in force at once."""


def named(value: Any) -> Iterator[str]:
    """Every parameter that a value depends on, through Ref, Sub and conditions."""
    conditions = source()["Conditions"]
    for name in [*refs(value), *re.findall(r"\$\{(\w+)\}", str(value))]:
        if name in source()["Parameters"]:
            yield name
    for condition in re.findall(r"'Fn::If': \['(\w+)'|'Condition': '(\w+)'", str(value)):
        yield from named(conditions["".join(condition)])


def test_a_change_of_a_parameter_alone_publishes_a_new_version_of_every_function(stack: Stack) -> None:
    content = stack.resources["Parameters"]["Properties"]["Content"]
    for name, function in stack.of("AWS::Lambda::Function"):
        assert {*named(function)} - OF_NO_VERSION <= {*named(content)}, f"{name} would go on with the old value"
        # Lambda makes no version of a function that is as it was, and CloudFormation none without a reason.
        assert function["Environment"]["Variables"]["POINTSMAN_PARAMETERS"] == {"Ref": "Parameters"}
        (version,) = (each for _, each in stack.of("AWS::Lambda::Version") if each["FunctionName"] == {"Ref": name})
        assert version["Description"] == {"Fn::Sub": "parameters ${Parameters}"}
    for kind, field in (("AppConfig::HostedConfigurationVersion", "Content"), ("Lambda::Version", "Description")):
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, f"AWS::{kind}").schema
        assert f"/properties/{field}" in schema["createOnlyProperties"], f"another {field} makes another {kind}"


def test_the_status_says_which_parameters_and_which_build_are_in_force() -> None:
    with Aws(LogLevel="DEBUG", Datacenters="dc1", Tracing="PassThrough") as aws:
        status = aws.request("Configure", "GET", "/v1/status")[1]
        assert status["datacenters"] == ["dc1"]
        in_force = status["deployed"]
        assert in_force["parameters"] == aws.stack.value(aws.stack.outputs["Parameters"]["Value"])
        assert (in_force["log_level"], in_force["tracing"], in_force["build"]) == ("DEBUG", False, "unknown")


def test_a_good_event_outlives_a_day_without_the_store(stack: Stack) -> None:
    queue, dead = dict(stack.of("AWS::SQS::Queue"))["Queue"], dict(stack.of("AWS::SQS::Queue"))["DeadLetters"]
    day = 24 * 60 * 60
    assert queue["RedrivePolicy"]["maxReceiveCount"] <= 1000, "SQS takes no more"
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] > day
    assert min(queue["MessageRetentionPeriod"], dead["MessageRetentionPeriod"]) > day
    (mapping,) = (each for _, each in stack.of("AWS::Lambda::EventSourceMapping"))
    ingest = stack.resources["Ingest"]["Properties"]
    assert queue["VisibilityTimeout"] > ingest["Timeout"], "else a record is delivered while it is being taken in"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(stack.value(mapping["ScalingConfig"])["MaximumConcurrency"]) >= 2


def test_nothing_that_is_current_ever_expires_and_the_bucket_is_closed(stack: Stack) -> None:
    ((_, bucket),) = stack.of("AWS::S3::Bucket")
    history, seen = bucket["LifecycleConfiguration"]["Rules"]
    # What adapters saw is written again every five minutes for as long as they are there.
    assert (history["Prefix"], seen["Prefix"]) == ("history/", "seen/")
    for rule in (history, seen):
        assert set(rule) == {"Id", "Status", "Prefix", "ExpirationInDays"}
    assert "VersioningConfiguration" not in bucket
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["BucketEncryption"]
    assert stack.resources["Bucket"]["DeletionPolicy"] == "Retain"


@pytest.mark.parametrize(
    ("kind", "policies", "names"),
    [
        ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "Bucket"),
        ("AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "Queues"),
        ("AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "Topics"),
    ],
)
def test_everything_is_reached_over_tls_only(stack: Stack, kind: str, policies: str, names: str) -> None:
    covered: set[str] = set()
    for _, policy in stack.of(policies):
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}:
                assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
                covered |= {*refs(policy[names])}
    assert covered == {name for name, _ in stack.of(kind)}


def test_no_role_may_do_more_than_a_list_of_actions_on_a_list_of_things() -> None:
    with Aws() as aws:
        for function in FUNCTIONS:
            for statement in statements(aws.stack, function):
                actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
                assert not [action for action in actions if "*" in action]
                # https://docs.aws.amazon.com/service-authorization/latest/reference/: these take no resource, the last
                # one a cluster as a condition.
                of_cluster = "ecs:cluster" in statement.get("Condition", {}).get("ArnLike", {})
                assert statement["Resource"] != "*" or actions == (
                    ["ecs:ListTasks"] if of_cluster else ["sqs:ListQueues", "sns:Unsubscribe"]
                )
    with Aws(Tracing="Active") as aws:
        (tracing,) = (each for each in statements(aws.stack, "Ingest") if each["Resource"] == "*")
        assert tracing["Action"] == ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]


def test_what_is_not_wanted_is_not_there() -> None:
    """Function URLs are forbidden in some organizations: without these two parts there is none, and no function."""
    stack = Stack({"WithConfigure": "false", "WithDiscovery": "false", "SilenceSeconds": "300"})
    assert not list(stack.of("AWS::Lambda::Url"))
    assert not list(stack.of("AWS::Lambda::Permission")) or all(
        "Reconcile" in name for name, _ in stack.of("AWS::Lambda::Permission")
    )
    assert {name for name, _ in stack.of("AWS::Lambda::Function")} == {"Ingest", "Reconcile"}
    assert not [name for name in stack.resources if name.startswith(("Configure", "Discovery"))]
    there = {name: each for name, each in stack.outputs.items() if stack.holds(each.get("Condition"))}
    assert not {"ConfigureURL", "DiscoveryURL", "EnvoyPolicyArn"} & there.keys()
    with Aws(WithConfigure="false", WithDiscovery="false") as aws:
        # Nothing refers to what is not there: every property of every resource can be worked out.
        for name, _ in aws.stack.of("AWS::IAM::ManagedPolicy"):
            aws.stack.refs[name] = name
        for each in (*aws.stack.resources.values(), *there.values()):
            aws.stack.value(each.get("Properties", each.get("Value")))
        aws.s3.put_object(Bucket=aws.stack.refs["Bucket"], Key="deploy/mesh.json", Body=json.dumps(CONFIG).encode())
        assert aws.pump() == 0
        assert "config/head" in aws.objects(), "an upload is a way to write config without a URL"


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"


def test_a_key_a_boundary_and_a_vpc_reach_everything_that_takes_one() -> None:
    with Aws(KmsKey=KEY, PermissionsBoundary=BOUNDARY, Subnets="subnet-1,subnet-2", SecurityGroups="sg-1") as aws:

        def each(kind: str) -> Iterator[Json]:
            return (aws.stack.value(properties) for _, properties in aws.stack.of(kind))

        assert {queue["KmsMasterKeyId"] for queue in each("AWS::SQS::Queue")} == {KEY}
        assert not [queue for queue in each("AWS::SQS::Queue") if "SqsManagedSseEnabled" in queue], (
            "SQS takes one of both"
        )
        assert {topic["KmsMasterKeyId"] for topic in each("AWS::SNS::Topic")} == {KEY}
        assert {group["KmsKeyId"] for group in each("AWS::Logs::LogGroup")} == {KEY}
        assert {role["PermissionsBoundary"] for role in each("AWS::IAM::Role")} == {BOUNDARY}
        (bucket,) = each("AWS::S3::Bucket")
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        for function in FUNCTIONS:
            properties = aws.stack.value(aws.stack.resources[function]["Properties"])
            assert properties["KmsKeyArn"] == KEY
            assert properties["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
            for action, resource in (("kms:Decrypt", KEY), ("ec2:CreateNetworkInterface", "*")):
                assert allows(aws.stack, function, action, resource), function
    with Aws() as aws:
        assert not [each for name in FUNCTIONS for each in statements(aws.stack, name) if "kms:" in str(each)]


PEER = f"arn:aws:events:eu-west-1:{ACCOUNT}:event-bus/pointsman"


def test_an_event_goes_to_the_peers_once_and_never_back() -> None:
    with Aws(PeerBus1=PEER) as aws:
        rules = dict(aws.stack.of("AWS::Events::Rule"))
        assert {"HealthRule", "PeersRule"} <= rules.keys()
        assert "PeersRule" not in dict(Stack().of("AWS::Events::Rule"))
        pattern = aws.stack.value(rules["PeersRule"]["EventPattern"])
        assert (pattern["account"], pattern["region"]) == ([ACCOUNT], [REGION]), "what began elsewhere stays here"
        assert [each["Arn"] for each in aws.stack.value(rules["PeersRule"]["Targets"])] == [PEER]
        (allowed,) = aws.stack.value(aws.stack.resources["ForwardRole"]["Properties"]["Policies"])
        assert PEER in allowed["PolicyDocument"]["Statement"][0]["Resource"]
        boto3.client("events", "eu-west-1").create_event_bus(Name="pointsman")
        before = aws.depth("Queue")  # S3 has tested whether its notifications arrive
        aws.put_event(s2())
        assert aws.depth("Queue") == before + 1


def test_events_of_other_regions_and_accounts_are_taken_in_only_if_the_stack_is_told_so() -> None:
    def regions(**parameters: str) -> list[str]:
        stack = Stack(parameters)
        pattern = dict(stack.of("AWS::Events::Rule"))["HealthRule"]["EventPattern"]
        found: list[str] = stack.value(pattern["region"])
        return found

    assert [region for region in regions() if region] == [REGION]
    assert regions(AcceptRegions="eu-west-1,us-east-1") == [REGION, "eu-west-1", "us-east-1"]
    assert not list(Stack().of("AWS::Events::EventBusPolicy"))
    with Aws(AcceptAccounts="210987654321") as aws:
        ((_, policy),) = aws.stack.of("AWS::Events::EventBusPolicy")
        assert aws.stack.value(policy["Statement"])["Principal"] == {"AWS": ["210987654321"]}


def test_six_stacks_name_each_other() -> None:
    peers = {f"PeerBus{number}": PEER.replace("west-1", f"west-{number}") for number in range(1, 6)}
    with Aws(**peers) as aws:
        targets = aws.stack.value(dict(aws.stack.of("AWS::Events::Rule"))["PeersRule"]["Targets"])
        assert [each["Arn"] for each in targets] == [*peers.values()]
        assert len({each["Id"] for each in targets}) == 5, "a rule takes five targets"


def to(stack: Stack, queue: str) -> set[str]:
    """The rules that send to a queue, at once or what they cannot deliver."""
    arn = {"Fn::GetAtt": [queue, "Arn"]}
    return {name for name, rule in stack.of("AWS::Events::Rule") if f"'Arn': {arn}" in str(rule["Targets"])}


def test_the_queues_take_what_the_rules_and_uploads_send_and_nothing_else() -> None:
    """What AWS sends on somebody's behalf says on whose, and the policy names them."""
    with Aws(PeerBus1=PEER) as aws:
        allowed = {}
        for name, policy in aws.stack.of("AWS::SQS::QueuePolicy"):
            for statement in aws.stack.value(policy["PolicyDocument"]["Statement"]):
                if statement["Effect"] == "Allow":
                    assert statement["Action"] == "sqs:SendMessage"
                    allowed[name, statement["Principal"]["Service"]] = statement["Condition"]
        arns = {name: aws.stack.attributes[name, "Arn"] for name, _ in aws.stack.of("AWS::Events::Rule")}
        health = arns["HealthRule"]
        assert to(aws.stack, "Queue") == {"HealthRule"}
        assert to(aws.stack, "DeadLetters") == {"HealthRule", "TasksRule", "PeersRule"}
        assert allowed == {
            ("QueuePolicy", "events.amazonaws.com"): {"ArnEquals": {"aws:SourceArn": health}},
            ("QueuePolicy", "s3.amazonaws.com"): {
                "StringEquals": {"aws:SourceAccount": ACCOUNT},
                "ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"},
            },
            ("DeadLettersPolicy", "events.amazonaws.com"): {
                "ArnEquals": {"aws:SourceArn": [health, arns["TasksRule"], arns["PeersRule"]]}
            },
        }


def test_what_eventbridge_cannot_deliver_is_among_the_dead_letters() -> None:
    with Aws(PeerBus1=PEER) as aws:
        dead = aws.stack.attributes["DeadLetters", "Arn"]
        for name, rule in aws.stack.of("AWS::Events::Rule"):
            for target in aws.stack.value(rule["Targets"]):
                # The next tick of the schedule does what a missed one would have done, and an alarm says if none comes.
                wanted = None if name == "ReconcileTimer" else {"Arn": dead}
                assert target.get("DeadLetterConfig") == wanted, name


def test_what_ecs_says_reaches_the_mesh_and_its_peers_over_the_mesh_s_own_bus() -> None:
    with Aws(PeerBus1=PEER) as aws:
        rules = dict(aws.stack.of("AWS::Events::Rule"))
        assert "EventBusName" not in rules["TasksRule"], "AWS itself speaks on the account's own bus only"
        assert aws.stack.value(rules["TasksRule"]["Targets"])[0]["Arn"] == aws.stack.attributes["Bus", "Arn"]
        assert "ECS Task State Change" in aws.stack.value(rules["HealthRule"]["EventPattern"])["detail-type"]


def test_alarms_watch_what_the_stack_has(stack: Stack) -> None:
    found = dict(stack.of("AWS::CloudWatch::Alarm"))
    assert set(found) == {
        "DeadLettersAlarm",
        "BacklogAlarm",
        "RepairsAlarm",
        "VanishedAlarm",
        "SilentSourcesAlarm",
        "FailedHeadsAlarm",
        "UndeliveredAlarm",
        "ReconcileMissingAlarm",
        "ThrottlesAlarm",
        *(f"{name}ErrorsAlarm" for name in FUNCTIONS),
    }
    assert "AlarmActions" not in stack.value(
        {key: value for key, value in found["RepairsAlarm"].items() if key == "AlarmActions"}
    )
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:pagers"
    for _, alarm in Stack({"AlarmTopic": topic}).of("AWS::CloudWatch::Alarm"):
        assert Stack({"AlarmTopic": topic}).value(alarm["AlarmActions"]) == [topic]


def test_an_alarm_of_many_metrics_names_every_rule_and_every_function() -> None:
    with Aws(PeerBus1=PEER, SilenceSeconds="900") as aws:
        alarms = {name: aws.stack.value(each) for name, each in aws.stack.of("AWS::CloudWatch::Alarm")}
        summed = {
            name: [
                each["MetricStat"]["Metric"]["Dimensions"] for each in alarms[name]["Metrics"] if "MetricStat" in each
            ]
            for name in ("UndeliveredAlarm", "ThrottlesAlarm")
        }
        rules = {name: aws.stack.value(rule) for name, rule in aws.stack.of("AWS::Events::Rule")}
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html: those of a bus of one's own are
        # told of by bus and rule.
        assert sorted(
            sorted((each["Name"], each["Value"]) for each in one) for one in summed["UndeliveredAlarm"]
        ) == sorted(
            sorted([("RuleName", rule["Name"])] + [("EventBusName", bus) for bus in [rule.get("EventBusName")] if bus])
            for rule in rules.values()
        )
        assert {one[0]["Value"] for one in summed["ThrottlesAlarm"]} == {aws.stack.refs[name] for name in FUNCTIONS}
        assert alarms["SilenceAlarm"]["Period"] == "900"
        assert alarms["ReconcileMissingAlarm"]["TreatMissingData"] == "breaching"


def test_sam_saves_its_answers_where_the_next_deploy_looks_for_them() -> None:
    """SAM reads the settings of the folder in which it is run, and saves them in that of the template."""
    assert [str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("**/samconfig.*") if _is_ours(path)] == [
        "infra/samconfig.toml"
    ]
    config = tomllib.loads(SETTINGS.read_text())
    for command in ("deploy", "validate"):
        assert (SETTINGS.parent / config["default"][command]["parameters"]["template_file"]).samefile(TEMPLATE)
    assert TEMPLATE.parent == SETTINGS.parent
    for block in re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs/aws.md").read_text(), re.DOTALL):
        assert "sam deploy" not in block or "cd infra" in block.partition("sam deploy")[0], block


def _is_ours(path: Path) -> bool:
    return not any(part.startswith(".") or part == "build" for part in path.relative_to(REPOSITORY).parts)


def test_a_deploy_needs_no_secret_no_account_and_two_commands() -> None:
    written = TEMPLATE.read_text() + SETTINGS.read_text()
    assert not [word for word in written.split() if word.isdecimal() and len(word) == 12]
    for name, parameter in source()["Parameters"].items():
        assert "Default" in parameter, f"{name} would be asked for"


def test_the_manual_names_every_parameter_and_every_alarm(stack: Stack) -> None:
    manual = (REPOSITORY / "docs/aws.md").read_text()
    for name in source()["Parameters"]:
        assert f"`{name}`" in manual, name
    for name, _ in Stack({"SilenceSeconds": "300"}).of("AWS::CloudWatch::Alarm"):
        assert f"`{name.removesuffix('Alarm')}`" in manual, name
    for name in (*(name for name in stack.outputs if name.endswith("PolicyArn")), "ConfigureURL", "DiscoveryURL"):
        assert f"`{name}`" in manual, name
    for name in ("BusName", "NoticesArn"):
        assert name in stack.outputs
        assert f"`{name}`" in manual, name


def test_versions_that_are_not_live_any_more_are_deleted(stack: Stack) -> None:
    kept = [name for name, each in stack.resources.items() if each["Type"] == "AWS::Lambda::Version"]
    assert len(kept) == len(FUNCTIONS)
    assert {stack.resources[name]["DeletionPolicy"] for name in kept} == {"Delete"}, "each one's snapshot costs money"
