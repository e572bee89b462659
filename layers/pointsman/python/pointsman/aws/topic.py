"""The topic for a mesh's notices, and the names of the adapters' queues on it."""

import re
from dataclasses import dataclass

from pointsman.model.errors import InvalidInput

_ARN = re.compile(r"arn:(aws[a-z-]*):sns:([a-z0-9-]+):([0-9]{12}):([A-Za-z0-9][A-Za-z0-9_-]{0,38})-notices\Z")
_TOKEN = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class MeshTopic:
    """The topic `<mesh>-notices` in one account and region, which also hold its adapters' queues."""

    partition: str
    region: str
    account: str
    mesh: str

    @property
    def arn(self) -> str:
        """The topic's ARN."""
        return f"arn:{self.partition}:sns:{self.region}:{self.account}:{self.mesh}-notices"

    @property
    def queue_prefix(self) -> str:
        """The prefix of the names of all adapters' queues of this mesh; infra/template.yaml allows no others."""
        return f"{self.mesh}-adapter-"

    def queue_name(self, token: str) -> str:
        """The name of the queue that an adapter creates with `token`, 32 hexadecimal digits."""
        return f"{self.queue_prefix}{token}"

    def queue_arn(self, name: str) -> str:
        """The ARN of a queue in the topic's account and region."""
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{name}"

    def is_queue(self, name: str) -> bool:
        """Whether an adapter may have created a queue of that name: other queues are never touched, whatever their
        prefix."""
        return name.startswith(self.queue_prefix) and _TOKEN.match(name.removeprefix(self.queue_prefix)) is not None


def read_topic(arn: str, option: str) -> MeshTopic:
    """The mesh's topic with this ARN. Raises InvalidInput, which names `option`."""
    match = _ARN.match(arn)
    if match is None:
        wanted = "arn:aws:sns:REGION:ACCOUNT:MESH-notices, the stack's output NoticesArn"
        raise InvalidInput.single(option, "", f'"{arn}" is not the ARN of a mesh\'s topic ({wanted})')
    return MeshTopic(*match.groups())
