"""Bad objects: what is wrong with each, and what its author must be told: where, what, and what to do.

`REFUSED` never get into the cluster. `TOLD` do, and a condition says what keeps them from being used.
"""

import copy
from dataclasses import dataclass
from typing import Any

from forebay.resources import names
from forebay.resources.fields import OWN_SECRETS

Object = dict[str, Any]
PROVIDER: Object = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [{"name": "big"}]}
TARGET: Object = {"provider": "acme", "model": "big"}
SIMULATED: Object = {"type": "Simulated", "gpus": 0}


@dataclass(frozen=True)
class Bad:
    """An object, and the words that its author must read. `condition`: type and reason, for one that gets in."""

    name: str
    document: Object
    words: tuple[str, ...]
    condition: tuple[str, str] = ("", "")


def _object(kind: str, spec: Any, name: str = "chat") -> Object:
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _merged(base: Object, path: str, value: Any) -> Object:
    """A copy with one field set, by its dotted path."""
    made = copy.deepcopy(base)
    *parents, last = path.split(".")
    where = made
    for step in parents:
        where = where.setdefault(step, {})
    where[last] = value
    return made


def pool(name: str, path: str, value: Any, *words: str, says: str = "") -> Bad:
    """A pool with one bad field. The field's own path must be in the refusal."""
    spec = _merged({"model": {"name": "m"}}, path, value)
    where = f"spec.{path}" if path else "spec"
    return Bad(name, _object(names.POOL_KIND, spec), (says or where, *words))


def policy(name: str, path: str, value: Any, *words: str, says: str = "") -> Bad:
    """A policy with one bad field."""
    base = {"providers": [PROVIDER], "primary": [TARGET], "secondary": [TARGET]}
    return Bad(name, _object(names.POLICY_KIND, _merged(base, path, value)), (says or f"spec.{path}", *words))


def provider(name: str, path: str, value: Any, *words: str) -> Bad:
    """A policy whose provider has one bad field."""
    made = _merged(PROVIDER, path, value)
    return policy(name, "providers", [made], *words, says=f"spec.providers[0].{path}")


def provider_model(name: str, path: str, value: Any, *words: str) -> Bad:
    """A policy whose provider's model has one bad field."""
    made = {**PROVIDER, "models": [{"name": "big", path: value}]}
    return policy(name, "providers", [made], *words, says=f"spec.providers[0].models[0].{path}")


def provider_with(name: str, fields: Object, *words: str) -> Bad:
    """A policy whose provider's fields do not go together."""
    return policy(name, "providers", [{**PROVIDER, **fields}], *words, says="spec.providers[0]")


def header(name: str, value: Object, *words: str) -> Bad:
    """A policy whose provider has one bad header."""
    return policy(name, "providers", [{**PROVIDER, "headers": [value]}], *words, says="spec.providers[0].headers[0]")


def gateway(name: str, path: str, value: Any, *words: str, item: bool = False) -> Bad:
    """A policy `default` whose gateways have one bad field, or one bad item of it."""
    spec = {"cloud": "Never", "gateway": {path: value}}
    where = f"spec.gateway.{path}" + ("[0]" if item else "")
    return Bad(name, _object(names.POLICY_KIND, spec, names.DEFAULT_POLICY), (where, *words))


def named(name: str, what: str, *words: str) -> Bad:
    """A pool with a bad name."""
    return Bad(name, _object(names.POOL_KIND, {"model": {"name": "m"}}, what), words)


KEY: Object = {"name": "keys", "key": "acme"}
LIKE_CREDENTIAL = "looks like a credential"
CHOOSE = "choose another name"
PLAIN_MONEY = 'write US dollars as a plain decimal in quotes, such as "1.20"'
ASK_SIZE = "write a size as Kubernetes does, such as 100Gi"
MODEL_WORDS = "absolute path: letters, digits and"
URL_WORDS = "baseURL is a URL such as https://api.example.com/v1"
VALUES = "Unsupported value"
RESERVED = "labels by which forebay finds its objects"
RESERVED_LABELS = (names.LABEL_NAME, names.LABEL_COMPONENT, names.LABEL_MANAGED_BY, names.LABEL_POOL)

REFUSED: tuple[Bad, ...] = (
    # The pool's own name.
    named("a name longer than pods allow", "a" * 41, "metadata.name is longer than 40 characters", "shorter"),
    named("the fleet's own name", "forebay", "metadata.name is taken", CHOOSE),
    named("the gateways' name", "forebay-gateway", "metadata.name is taken", CHOOSE),
    named("a headless Service's name", "chat-replicas", "metadata.name is taken", CHOOSE),
    named("a name that begins with a digit", "7b-chat", "must begin with a letter", CHOOSE),
    named("a name with a dot", "chat.v2", "only lower-case letters, digits and dashes", CHOOSE),
    named("an upper-case name", "Chat", "metadata.name", "lower case"),
    named("an underscore in the name", "chat_v2", "metadata.name", "must consist of lower case"),
    # Model.
    Bad("no spec", {"apiVersion": names.API_VERSION, "kind": names.POOL_KIND, "metadata": {"name": "chat"}},
        ("spec: Required value",)),
    Bad("no model", _object(names.POOL_KIND, {}), ("spec.model: Required value",)),
    Bad("a list for a spec", _object(names.POOL_KIND, []), ("spec", "must be of type object")),
    pool("a model without a name", "model", {}, "Required value", says="spec.model.name"),
    pool("an empty model name", "model.name", "", "at least 1 chars"),
    pool("a model name with a space", "model.name", "qwen 7b", MODEL_WORDS),
    pool("a model name that is a number", "model.name", 7, "must be of type string"),
    pool("a model name with a newline", "model.name", "qwen\n", MODEL_WORDS),
    pool("a model name that looks like a flag", "model.name", "--trust-remote-code", MODEL_WORDS),
    pool("too long a model name", "model.name", "m" * 254, " than 253"),
    pool("served names as one string", "model.servedNames", "qwen", "must be of type array"),
    pool("a served name twice", "model.servedNames", ["a", "a"], "Duplicate value"),
    pool("an empty served name", "model.servedNames", [""], "at least 1 chars", says="spec.model.servedNames[0]"),
    pool("a served name with a space", "model.servedNames", ["a b"], "a model's name begins with a letter or digit",
         says="spec.model.servedNames[0]"),
    pool("too many served names", "model.servedNames", [f"n{i}" for i in range(17)], "must have at most 16 items"),
    pool("a Secret without a key", "model.tokenSecretRef", {"name": "hub"}, "Required value",
         says="spec.model.tokenSecretRef.key"),
    pool("a Secret with a bad name", "model.tokenSecretRef", {"name": "Hub!", "key": "t"}, "should match",
         says="spec.model.tokenSecretRef.name"),
    pool("a Secret key with a slash", "model.tokenSecretRef", {"name": "hub", "key": "a/b"}, "should match",
         says="spec.model.tokenSecretRef.key"),
    pool("a token in plain text", "model.tokenSecretRef", "hf_abc", "must be of type object"),
    pool("an adapter without a source", "model.adapters", [{"name": "a"}], "Required value",
         says="spec.model.adapters[0].source"),
    pool("an adapter twice", "model.adapters", [{"name": "a", "source": "x"}, {"name": "a", "source": "y"}],
         "Duplicate value", says="spec.model.adapters[1]"),
    pool("an unknown task", "model.task", "Chat", VALUES, "Generate", "Embed"),
    pool("an unknown kind of input", "model.inputs", ["Video"], VALUES, "Image", says="spec.model.inputs[0]"),
    pool("no kind of input", "model.inputs", [], "at least 1 items"),
    pool("a context of no tokens", "model.contextTokens", 0, "greater than or equal to 1"),
    pool("a context in words", "model.contextTokens", "32k", "must be of type integer"),
    # Capabilities, size, price.
    pool("no capability", "capabilities", [], "at least 1 items"),
    pool("an unknown capability", "capabilities", ["poetry"], VALUES, "reasoning", says="spec.capabilities[0]"),
    pool("a capability twice", "capabilities", ["general", "general"], "Duplicate value", says="spec.capabilities[1]"),
    pool("fewer than no replicas", "replicas", -1, "greater than or equal to 0"),
    pool("a thousand and one replicas", "replicas", 1001, "less than or equal to 1000"),
    pool("half a replica", "replicas", 1.5, "must be of type integer"),
    pool("a price with a currency", "gpuHourPrice", "$1.20", PLAIN_MONEY),
    pool("a negative price", "gpuHourPrice", "-1", PLAIN_MONEY),
    pool("a price with a comma", "gpuHourPrice", "1,20", PLAIN_MONEY),
    pool("a price that is a number", "gpuHourPrice", 1.2, "must be of type string"),
    pool("a policy with a bad name", "cloudFallbackPolicyRef", {"name": "My Policy"}, "should match",
         says="spec.cloudFallbackPolicyRef.name"),
    pool("a policy by its bare name", "cloudFallbackPolicyRef", "default", "must be of type object"),
    # Engine.
    pool("an unknown engine", "engine.type", "TGI", VALUES, "VLLM"),
    pool("fewer than no GPUs", "engine.gpus", -1, "greater than or equal to 0"),
    pool("more GPUs than a node has", "engine.gpus", 65, "less than or equal to 64"),
    pool("GPUs in words", "engine.gpus", "two", "must be of type integer"),
    pool("a port of one's own", "engine.args", ["--port=1"], "args must not set --host, --port or --uds",
         says="spec.engine"),
    pool("a host of one's own", "engine.args", ["--host", "0.0.0.0"], "the routing sidecar is the only way in",
         says="spec.engine"),
    pool("a socket of one's own", "engine.args", ["--uds=/x"], "args must not set", says="spec.engine"),
    pool("the served name in args", "engine.args", ["--served-model-name", "x"], "use spec.model.name",
         says="spec.engine"),
    pool("the model in args", "engine.args", ["--model=x"], "use spec.model.name", says="spec.engine"),
    pool("args as one string", "engine.args", "--a --b", "must be of type array"),
    pool("an argument that is a number", "engine.args", ["--max-num-seqs", 64], "must be of type string",
         says="spec.engine.args[1]"),
    pool("too short a startup", "engine.startupSeconds", 1, "greater than or equal to 10"),
    pool("too long a drain", "engine.drainSeconds", 7201, "less than or equal to 7200"),
    pool("a drain in Go's notation", "engine.drainSeconds", "5m", "must be of type integer"),
    pool("no resource name", "engine.gpuResourceName", "", "at least 1 chars"),
    pool("two caches", "engine.cache", {"ephemeral": {}, "hostPath": {"path": "/x"}}, "set exactly one of"),
    pool("no cache", "engine.cache", {}, "set exactly one of"),
    pool("a relative path on the node", "engine.cache", {"hostPath": {"path": "models"}}, "should match",
         says="spec.engine.cache.hostPath.path"),
    pool("a cache size in words", "engine.cache", {"ephemeral": {"sizeLimit": "100 GB"}}, ASK_SIZE,
         says="spec.engine.cache.ephemeral.sizeLimit"),
    pool("a claim without a size", "engine.cache", {"perReplica": {}}, "Required value",
         says="spec.engine.cache.perReplica.storage"),
    pool("a claim of a bad size", "engine.cache", {"perReplica": {"storage": "-1Gi"}}, ASK_SIZE,
         says="spec.engine.cache.perReplica.storage"),
    pool("a claim with a bad name", "engine.cache", {"sharedClaim": {"claimName": "A"}}, "should match",
         says="spec.engine.cache.sharedClaim.claimName"),
    pool("a pod template that is no map", "engine.podTemplate", "x", "must be of type object"),
    # Scaling, capacity, queue, session, overflow.
    pool("an unknown mode", "scaling.mode", "Sometimes", VALUES, "Manual"),
    pool("a minimum above the maximum", "scaling", {"minReplicas": 3, "maxReplicas": 2},
         "lower minReplicas or raise maxReplicas"),
    pool("a maximum of nothing", "scaling.maxReplicas", 0, "greater than or equal to 1"),
    pool("sleep with a minimum", "scaling.idleSecondsToZero", 60, "needs minReplicas: 0", says="spec.scaling"),
    pool("a negative window", "scaling.behavior", {"scaleUp": {"stabilizationWindowSeconds": -1}},
         "greater than or equal to 0", says="spec.scaling.behavior.scaleUp.stabilizationWindowSeconds"),
    pool("too long a window", "scaling.behavior", {"scaleDown": {"stabilizationWindowSeconds": 3601}},
         "less than or equal to 3600", says="spec.scaling.behavior.scaleDown.stabilizationWindowSeconds"),
    pool("no slot", "capacity.slotsPerReplica", 0, "greater than or equal to 1"),
    pool("all slots reserved", "capacity.highReservedPercent", 100, "less than or equal to 90"),
    pool("a wait longer than clients have", "queue.maxWaitSeconds", 601, "less than or equal to 600"),
    pool("a queue of fewer than none", "queue.maxRequests", -1, "greater than or equal to 0"),
    pool("no time to connect to an engine", "timeouts.connectSeconds", 0, "greater than or equal to 1"),
    pool("a first token after a day", "timeouts.firstTokenSeconds", 86401, "less than or equal to 86400"),
    pool("a first token after the end", "timeouts", {"firstTokenSeconds": 61, "totalSeconds": 60},
         "firstTokenSeconds must not be above totalSeconds", "lower it"),
    pool("more silence where nothing is made", "timeouts", {"betweenChunksSeconds": 61, "silenceSeconds": 60},
         "betweenChunksSeconds must not be above silenceSeconds", "lower it"),
    pool("affinity for no time", "session.affinitySeconds", 0, "greater than or equal to 1"),
    pool("affinity for more than a day", "session.affinitySeconds", 86401, "less than or equal to 86400"),
    pool("an unknown permission", "overflow.substitute", "Yes", VALUES, "Allowed"),
    pool("a truth value for a word", "overflow.cloud", True, "must be of type string"),
    pool("an unknown rollout", "rollout.adoptRouter", "Now", VALUES, "OnNextChange"),
    # Policies: providers.
    Bad("a policy without a spec",
        {"apiVersion": names.API_VERSION, "kind": names.POLICY_KIND, "metadata": {"name": "default"}},
        ("spec: Required value",)),
    Bad("no provider", _object(names.POLICY_KIND, {"providers": []}),
        ("primary and secondary are both empty", "set cloud: Never")),
    policy("providers by name", "providers", {"acme": PROVIDER}, "must be of type array"),
    policy("a provider twice", "providers", [PROVIDER, PROVIDER], "Duplicate value", says="spec.providers[1]"),
    policy("too many providers", "providers", [{**PROVIDER, "name": f"p{i}"} for i in range(17)],
           "must have at most 16 items"),
    provider("a provider without an address", "baseURL", None, "Required value"),
    provider("an address without a scheme", "baseURL", "acme.example/v1", URL_WORDS),
    provider("an address of another scheme", "baseURL", "ftp://acme.example", URL_WORDS),
    provider("an address with a user", "baseURL", "https://me:secret@acme.example/v1", URL_WORDS),
    provider("an address with a query", "baseURL", "https://acme.example/v1?key=1", URL_WORDS),
    policy("a key sent in the clear", "providers", [{**PROVIDER, "baseURL": "http://acme.example/v1"}],
           "must start with https://", "set transport: HTTP", says="spec.providers[0]"),
    provider("an unknown transport", "transport", "QUIC", VALUES, "HTTPS"),
    provider("a key in plain text", "apiKeySecretRef", "sk-abc", "must be of type object"),
    *(provider(f"forebay's own Secret {secret} as a key", "apiKeySecretRef", {"name": secret, "key": "token"},
               "name another Secret") for secret in OWN_SECRETS),
    header("the control token as a header", {"name": "x-a", "valueSecretRef": {"name": OWN_SECRETS[0], "key": "token"}},
           "name another Secret"),
    *(header("a credential as header " + name, {"name": name, "value": "x"}, LIKE_CREDENTIAL, "valueSecretRef")
      for name in ("Authorization", "x-api-key", "X-Auth-Token", "cookie", "ocp-apim-subscription-key")),
    header("a credential as value", {"name": "x-tenant", "value": "Bearer abc"}, LIKE_CREDENTIAL, "valueSecretRef"),
    *(header("a header of the message itself: " + name, {"name": name, "value": "x"}, "choose another header")
      for name in ("Host", "content-length", "Transfer-Encoding", "connection", "Proxy-Connection", "x-forebay-cloud")),
    header("a header with a space", {"name": "x tenant", "value": "x"}, "a header's name begins with a letter"),
    header("a header with a line of its own", {"name": "x-a", "value": "x\r\nx-b: 1"}, "only printable ASCII"),
    header("a header without a value", {"name": "x-a"}, "set exactly one of value and valueSecretRef"),
    provider("no header at all", "headers", [], "at least 1 items"),
    provider_with("a header twice", {"headers": [{"name": "x-a", "value": "1"}, {"name": "X-A", "value": "2"}]},
                  "headers names a header twice"),
    provider_with("the key's header twice", {"apiKeySecretRef": KEY, "apiKeyHeader": "Api-Key", "headers": [
                      {"name": "api-key", "valueSecretRef": KEY}]}, "the header that carries the API key"),
    provider_with("a header for no key", {"apiKeyHeader": "api-key"}, "set apiKeySecretRef, or remove them"),
    provider_with("a key in a header of the message", {"apiKeySecretRef": KEY, "apiKeyHeader": "host"},
                  "choose another header"),
    provider("a key in the URL", "query", [{"name": "key", "value": "x"}], LIKE_CREDENTIAL, "apiKeyHeader"),
    provider("a parameter with an ampersand", "query", [{"name": "a&b", "value": "x"}], "a parameter's name holds"),
    provider_with("a parameter twice", {"query": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]},
                  "query names a parameter twice"),
    provider("no certificate at all", "tls", {}, "tls is empty"),
    provider("two authorities", "tls", {"caConfigMapRef": KEY, "caSecretRef": KEY}, "set only one of"),
    provider_with("a proxy for plain HTTP", {"proxy": "corp", "baseURL": "http://acme/v1", "transport": "HTTP"},
                  "tls and proxy are for a baseURL that starts with https://"),
    provider("a proxy by its address", "proxy", "http://proxy:3128", "should match"),
    provider("a provider without a model", "models", [], "at least 1 items"),
    provider("a model twice", "models", [{"name": "big"}, {"name": "big"}], "Duplicate value"),
    provider("no request at a time", "limits", {"maxConcurrentRequests": 0}, "greater than or equal to 1"),
    provider("no request a minute", "limits", {"requestsPerMinute": 0}, "greater than or equal to 1"),
    provider("no time to connect", "timeouts", {"connectSeconds": 0}, "greater than or equal to 1"),
    provider("an answer longer than an hour", "timeouts", {"totalSeconds": 3601}, "less than or equal to 3600"),
    provider("a provider with a bad name", "name", "Acme Inc", "should match"),
    provider_model("a price in words", "inputPrice", "cheap", PLAIN_MONEY),
    provider_model("a price with too many digits", "outputPrice", "1.0000000001", PLAIN_MONEY),
    provider_model("an unknown name for the limit", "maxTokensField", "limit", VALUES, "max_completion_tokens"),
    provider_model("a provider's context of no tokens", "contextTokens", 0, "greater than or equal to 1"),
    provider_model("a field to drop twice", "dropFields", ["seed", "seed"], "Duplicate value"),
    provider("a connection kept for no time", "timeouts", {"idleSeconds": 0}, "greater than or equal to 1"),
    # Policies: where to.
    Bad("nowhere to go", _object(names.POLICY_KIND, {"providers": [PROVIDER]}),
        ("primary and secondary are both empty", "name at least one provider model")),
    policy("a primary that does not exist", "primary", [{"provider": "nope", "model": "big"}],
           "primary names a provider or model that is not in providers", "correct the name", says="spec"),
    policy("a secondary whose model does not exist", "secondary", [{"provider": "acme", "model": "small"}],
           "secondary names a provider or model", "add it there", says="spec"),
    policy("High without a primary", "primary", [], "fill primary, or set overflow.high", says="spec"),
    policy("Normal without a secondary", "secondary", [], "fill secondary, or set overflow.normal", says="spec"),
    policy("too many targets", "primary", [TARGET] * 9, "must have at most 8 items"),
    policy("a target without a model", "primary", [{"provider": "acme"}], "Required value",
           says="spec.primary[0].model"),
    policy("Low goes to a word that is none", "overflow.low", "Never", VALUES, "Queue"),
    policy("an unknown meaning of full", "overflow.fullWhen", "Always", VALUES, "AllPoolsFull"),
    policy("an unknown answer to a gap", "onCapabilityGap", "Ignore", VALUES, "Reject"),
    policy("a budget of a negative amount", "budget", {"amount": "-5"}, "below a million as a decimal",
           says="spec.budget.amount"),
    policy("a budget as a number", "budget", {"amount": 500}, "must be of type string", says="spec.budget.amount"),
    policy("a budget of a million", "budget", {"amount": "1000000"}, "below a million", says="spec.budget.amount"),
    policy("a budget without an amount", "budget", {"period": "Day"}, "Required value", says="spec.budget.amount"),
    policy("a budget of an unknown period", "budget", {"amount": "5", "period": "Year"}, VALUES, "Month",
           says="spec.budget.period"),
    policy("a zone with a space", "budget", {"amount": "5", "timeZone": "Europe / Berlin"}, "IANA data base",
           says="spec.budget.timeZone"),
    policy("a week's start without a week", "budget", {"amount": "5", "weekStart": "Sunday"}, "set period: Week",
           says="spec.budget"),
    policy("nearly all of a budget reserved", "budget", {"amount": "5", "reservedForHighPercent": 95},
           "less than or equal to 90", says="spec.budget.reservedForHighPercent"),
    policy("a threshold above the amount", "budget", {"amount": "5", "alertPercents": [120]},
           "less than or equal to 100", says="spec.budget.alertPercents[0]"),
    policy("a threshold twice", "budget", {"amount": "5", "alertPercents": [50, 50]}, "Duplicate value",
           says="spec.budget.alertPercents[1]"),
    policy("a lease of a moment", "budget", {"amount": "5", "lease": {"seconds": 5}}, "greater than or equal to 60",
           says="spec.budget.lease.seconds"),
    policy("an unknown enforcement", "budget", {"amount": "5", "enforcement": "Maybe"}, VALUES, "Advisory",
           says="spec.budget.enforcement"),
    Bad("a budget without prices",
        _object(names.POLICY_KIND, {"providers": [{**PROVIDER, "models": [{"name": "big"}]}], "primary": [TARGET],
                                    "secondary": [TARGET], "budget": {"amount": "5"}}),
        ("a model in primary has no price", "give it inputPrice and outputPrice")),
    Bad("a budget with half a price",
        _object(names.POLICY_KIND, {"providers": [{**PROVIDER, "models": [{"name": "big", "inputPrice": "1"}]}],
                                    "primary": [TARGET], "secondary": [TARGET], "budget": {"amount": "5"}}),
        ("a model in secondary has no price", "give it inputPrice and outputPrice")),
    provider_model("an answer of no tokens", "answerTokens", 0, "greater than or equal to 1"),
    policy("the cloud as a truth value", "cloud", False, "must be of type string"),
    # Gateways, and what objects carry.
    Bad("gateways in a policy of another name",
        _object(names.POLICY_KIND, {"cloud": "Never", "gateway": {"replicas": 3}}, "other"),
        ("spec.gateway is about all gateways of the namespace", "move it there")),
    gateway("no gateway", "replicas", 0, "greater than or equal to 1"),
    *(gateway("a gateway's reserved label " + label, "labels", {label: "x"}, RESERVED) for label in RESERVED_LABELS),
    *(pool("a pool's reserved label " + label, "metadata.labels", {label: "x"}, RESERVED) for label in RESERVED_LABELS),
    gateway("a gateway's annotation of forebay's", "annotations", {"forebay.dev/x": "x"}, "forebay's own"),
    pool("a pool's annotation of forebay's", "metadata.annotations", {"forebay.dev/x": "x"}, "forebay's own"),
    gateway("a label's value that is too long", "labels", {"team": "x" * 64}, " than 63"),
    gateway("too many labels", "labels", {f"l{i}": "x" for i in range(33)}, "must have at most 32 items"),
    gateway("tolerations as a map", "tolerations", {"key": "x"}, "must be of type array"),
    gateway("resources as a word", "resources", "large", "must be of type object"),
    *(gateway(f"the gateways' volume {name}", "volumes", [{"name": name, "emptyDir": {}}], "choose another name",
              item=True) for name in ("table", "token", "clients", "providers", "tmp")),
    gateway("a volume twice", "volumes", [{"name": "a", "emptyDir": {}}] * 2, "Duplicate value"),
    gateway("a volume without a name", "volumes", [{"emptyDir": {}}], "Required value"),
    gateway("a mount over the token", "volumeMounts", [{"name": "a", "mountPath": "/etc/forebay/token"}],
            "choose another mountPath", item=True),
    gateway("the pod's name as a variable", "env", [{"name": "POD_NAME", "value": "x"}], "choose another name",
            item=True),
    pool("claims that go to nobody", "engine.cache",
         {"perReplica": {"storage": "1Gi", "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Drop"}}}, VALUES,
         says="spec.engine.cache.perReplica.persistentVolumeClaimRetentionPolicy.whenScaled"),
)  # fmt: skip


def template(name: str, pod_template: Object, *words: str) -> Bad:
    """A pool whose podTemplate contradicts what forebay needs."""
    spec = {"model": {"name": "m"}, "engine": {**SIMULATED, "podTemplate": pod_template}}
    return Bad(name, _object(names.POOL_KIND, spec), ("engine.podTemplate", *words), ("PodTemplateAccepted", "Refused"))


def applied(name: str, pod_template: Object, *words: str) -> Bad:
    """A pool whose podTemplate merges, and which the API server refuses in its own words."""
    spec = {"model": {"name": "m"}, "engine": {**SIMULATED, "podTemplate": pod_template}}
    return Bad(name, _object(names.POOL_KIND, spec), ("StatefulSet chat", *words), ("ReplicasCreated", "CreateRefused"))


def container(name: str, **fields: Any) -> Object:
    """A podTemplate with one container."""
    return {"spec": {"containers": [{"name": name, **fields}]}}


def router(**fields: Any) -> Object:
    """A podTemplate that touches the router."""
    return {"spec": {"initContainers": [{"name": "router", **fields}]}}


HOOK: Object = {"preStop": {"exec": {"command": ["true"]}}}
PROBE: Object = {"tcpSocket": {"port": 1}}

TOLD: tuple[Bad, ...] = (
    template("the host's network", {"spec": {"hostNetwork": True}}, "sets hostNetwork", "remove it"),
    template("a hook that ends the drain", container("engine", lifecycle=HOOK), "preStop hook of the engine",
             "use a container of your own"),
    template("a liveness probe on the engine", container("engine", livenessProbe=PROBE), "livenessProbe", "remove it"),
    template("another startup probe", container("engine", startupProbe={"failureThreshold": 1}), "startupProbe",
             "set engine.startupSeconds instead"),
    template("the router's port", container("helper", image="h", ports=[{"containerPort": 8081}]), "uses port 8081",
             "the router listens there"),
    template("another router", router(image="mine:1"), "changes image of the container router", "remove it"),
    template("the router's arguments", router(args=["--role=gateway"]), "container router", "remove it"),
    template("a router that is restarted never", router(restartPolicy="Never"), "container router", "remove it"),
    template("the router among the containers", container("router", image="r"), "puts router into containers"),
    template("another pool's label", {"metadata": {"labels": {"forebay.dev/pool": "x"}}}, "the label",
             "choose another label"),
    template("too short a grace", {"spec": {"terminationGracePeriodSeconds": 5}}, "terminationGracePeriodSeconds",
             "lower engine.drainSeconds instead"),
    template("a replica that is not restarted", {"spec": {"restartPolicy": "Never"}}, "restartPolicy", "remove it"),
    template("forebay's volume", {"spec": {"volumes": [{"name": "token", "emptyDir": {}}]}}, "volume token",
             "choose another name"),
    template("a patch directive", {"spec": {"containers": [{"$patch": "delete", "name": "engine"}]}},
             "patch directive"),
    template("containers without names", {"spec": {"containers": [{"image": "x"}]}}, "needs 'name'"),
    template("two containers of one name", {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}},
             "two entries of", "the same 'name'"),
    template("a list for the spec", {"spec": ["x"]}, "must be a map"),
    template("a word for a list", {"spec": {"containers": "engine"}}, "engine.podTemplate"),
    template("a word for a number", {"spec": {"terminationGracePeriodSeconds": "long"}}, "must be a number"),
    template("a word for a truth value", {"spec": {"enableServiceLinks": "yes"}}, "must be true or false"),
    applied("an unknown field", {"spec": {"nodeSelektor": {"a": "b"}}}, "nodeSelektor"),
    applied("a misspelt field of a container", container("engine", imagePullPolcy="Always"), "imagePullPolcy"),
    applied("a container without an image", container("helper"), "image", "Required value"),
    applied("a mount without a volume", container("engine", volumeMounts=[{"name": "x", "mountPath": "/x"}]),
            "volumeMounts", "Not found"),
    applied("an unknown pull policy", container("engine", imagePullPolicy="Sometimes"), "imagePullPolicy",
            "supported values"),
    applied("a bad toleration", {"spec": {"tolerations": [{"operator": "Maybe"}]}}, "tolerations", "Maybe"),
    applied("a bad quantity", container("engine", resources={"limits": {"cpu": "two"}}), "quantities must match"),
    applied("a bad label", {"metadata": {"labels": {"team": "a team"}}}, "labels", "Invalid value"),
    applied("a bad priority class", {"spec": {"priorityClassName": "Not A Name"}}, "priorityClassName"),
    applied("a bad node selector", {"spec": {"nodeSelector": {"a b": "c"}}}, "nodeSelector", "Invalid value"),
    Bad("a GPU resource that is no name",
        _object(names.POOL_KIND, {"model": {"name": "m"}, "engine": {"gpus": 1, "gpuResourceName": "my gpu"}}),
        ("StatefulSet chat", "my gpu"), ("ReplicasCreated", "CreateRefused")),
    Bad("a port beyond the last one", _object(names.POLICY_KIND, {
            "providers": [{**PROVIDER, "baseURL": "https://acme.example:99999/v1"}], "secondary": [TARGET],
            "overflow": {"high": "Queue"}}),
        ("https://acme.example:99999/v1 is no URL that anybody can be reached at",), ("Ready", "InvalidSpec")),
    Bad("a policy that does not exist",
        _object(names.POOL_KIND, {"model": {"name": "m"}, "cloudFallbackPolicyRef": {"name": "x"}}),
        ("cloudFallbackPolicyRef names x", "create it or remove the reference"),
        ("RoutingProgrammed", "PolicyNotFound")),
)  # fmt: skip
