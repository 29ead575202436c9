"""What KubeRay's v1 API takes for a RayCluster, a RayJob and a RayCronJob, as far as our manifests use it: JSON schemas
that refuse every other field.

Written from the reference of KubeRay 1.6; what Kubernetes itself defines (pods, containers, resources) is left to
Kubernetes' own schemas. That a field is in none of them says that it is a mistake of ours or missing here: look it up.
"""

from typing import Any

TEXT = {"type": "string"}
TRUTH = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
FROM_KUBERNETES = {"type": "object"}
ITEMS_FROM_KUBERNETES = {"type": "array", "items": FROM_KUBERNETES}


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


AUTH = fields(mode={"enum": ["disabled", "token"]}, enableK8sTokenAuth=TRUTH)
AUTOSCALER = fields(
    version={"enum": ["v1", "v2"]},
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    idleTimeoutSeconds=COUNT,
    image=TEXT,
    imagePullPolicy=TEXT,
    env=ITEMS_FROM_KUBERNETES,
    envFrom=ITEMS_FROM_KUBERNETES,
    volumeMounts=ITEMS_FROM_KUBERNETES,
    resources=FROM_KUBERNETES,
    securityContext=FROM_KUBERNETES,
)
HEAD = fields(
    "template",
    template=FROM_KUBERNETES,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    headService=FROM_KUBERNETES,
    enableIngress=TRUTH,
)
WORKERS = fields(
    "groupName maxReplicas minReplicas template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=TEXTS,
    template=FROM_KUBERNETES,
)
CLUSTER = fields(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=AUTH,
    enableInTreeAutoscaling=TRUTH,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
    suspend=TRUTH,
)
JOB = fields(
    rayClusterSpec=CLUSTER,
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    metadata=TEXTS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    submitterPodTemplate=FROM_KUBERNETES,
    submitterConfig=fields(backoffLimit=COUNT),
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes=TRUTH,
    ttlSecondsAfterFinished=COUNT,
    clusterSelector=TEXTS,
    suspend=TRUTH,
)
CRON_JOB = fields("schedule jobTemplate", schedule=TEXT, jobTemplate=JOB, suspend=TRUTH)
KINDS = {"RayCluster": CLUSTER, "RayJob": JOB, "RayCronJob": CRON_JOB}
