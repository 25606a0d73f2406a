"""Kubernetes manifests: a StatefulSet for each server, so that each pod gets the secret of its own server alone.

One StatefulSet with n replicas would be shorter, and would show every server's keys to every pod: the pods of a
StatefulSet mount the same secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from fivefold.cli.deploy.recipe import METRICS_PORT, RECIPE_PATH, USER, object_options, recipe
from fivefold.cluster import Configuration, ServerEntry
from fivefold.errors import ConfigurationError

KUSTOMIZATION_PATH: Final = "kustomization.yaml"
NAMESPACE: Final = "fivefold"
"""Where the servers run if their addresses do not say so."""

_LABEL: Final = re.compile(r"[a-z]([a-z0-9-]{0,51}[a-z0-9])?")
"""A name that a Service, and with -0 behind it a pod, can have."""

_HOST: Final = re.compile(r"([^.]+)(?:\.([^.]+)(?:\.svc(?:\.cluster\.local)?)?)?")

_KUSTOMIZATION: Final = """\
# The servers of cluster {cluster} on Kubernetes. In the directory of this file:
#
#   kubectl create namespace {namespace}
#   kubectl apply -k .
#
# The secrets are made from the identities beside this file, each for its own server. Delete the identities of the
# servers here afterwards, keep client-admin, and do not commit any of them.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {namespace}
resources:
  - deploy/common.yaml
{resources}
generatorOptions:
  disableNameSuffixHash: true
configMapGenerator:
  - name: fivefold-cluster
    files: [cluster.toml]
secretGenerator:
{secrets}"""

_GENERATED: Final = """\
  - name: {name}-identity
    files: [server-{index}/certificate.pem, server-{index}/signing-key.pem, server-{index}/exchange-key.pem]
"""

_COMMON: Final = """\
# At most t = {t} servers may be down at once: a drain that would stop more has to wait.
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: fivefold
  namespace: {namespace}
spec:
  maxUnavailable: {t}
  selector:
    matchLabels: {{app.kubernetes.io/name: fivefold}}
---
# Clients and servers reach the servers' ports, and the namespace alone their metrics, which are in clear text.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: fivefold
  namespace: {namespace}
spec:
  podSelector:
    matchLabels: {{app.kubernetes.io/name: fivefold}}
  policyTypes: [Ingress]
  ingress:
    - ports: [{ports}]
    - from: [{{podSelector: {{}}}}]
      ports: [{{protocol: TCP, port: {metrics}}}]
"""

_SERVER: Final = """\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: fivefold, fivefold/server: "{index}"}}
spec:
  clusterIP: None
  # The others reach a server while it starts: it may need what they hold.
  publishNotReadyAddresses: true
  selector: {{app.kubernetes.io/name: fivefold, fivefold/server: "{index}"}}
  ports: [{{name: fivefold, protocol: TCP, port: {port}, targetPort: {port}}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: fivefold, fivefold/server: "{index}"}}
spec:
  # Never more: two pods with one identity make that server lie.
  replicas: 1
  serviceName: {name}
  selector:
    matchLabels: {{app.kubernetes.io/name: fivefold, fivefold/server: "{index}"}}
  # Volumes stay when this is deleted: a server without its data can only be replaced.
  persistentVolumeClaimRetentionPolicy: {{whenDeleted: Retain, whenScaled: Retain}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: fivefold, fivefold/server: "{index}"}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: {user}
        runAsGroup: {user}
        fsGroup: {user}
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {{type: RuntimeDefault}}
      affinity:
        podAntiAffinity:
          # Two servers on one node fail together.
          requiredDuringSchedulingIgnoredDuringExecution:
            - labelSelector:
                matchLabels: {{app.kubernetes.io/name: fivefold}}
              topologyKey: kubernetes.io/hostname
      initContainers:
        # The server keeps a record beside its keys, which a secret cannot take. It outlives the pod.
        - name: identity
          image: fivefold
          command: [sh, -c, {copy}]
          securityContext: {{{locked}}}
          resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{memory: 64Mi}}}}
          volumeMounts:
            - {{name: secret, mountPath: /secret, readOnly: true}}
            - {{name: identity, mountPath: /identity}}
      containers:
        - name: server
          image: fivefold
          args: {arguments}
          ports:
            - {{name: fivefold, containerPort: {port}}}
            - {{name: metrics, containerPort: {metrics}}}
          securityContext: {{{locked}}}
          resources: {{requests: {{cpu: 250m, memory: 512Mi}}, limits: {{memory: 1536Mi}}}}
          # It listens when it has read its journal. Only that is a reason to start it anew: a full disk is none.
          startupProbe:
            tcpSocket: {{port: fivefold}}
            periodSeconds: 5
            failureThreshold: 120
          livenessProbe:
            tcpSocket: {{port: fivefold}}
            periodSeconds: 10
            failureThreshold: 6
          # A newcomer that still catches up is not ready, and so counts as disrupted.
          readinessProbe:
            httpGet: {{path: /readyz, port: metrics}}
            periodSeconds: 5
          volumeMounts:
            - {{name: cluster, mountPath: /cluster, readOnly: true}}
            - {{name: identity, mountPath: /identity}}
            - {{name: data, mountPath: /data}}
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: cluster
          configMap: {{name: fivefold-cluster}}
        - name: secret
          secret: {{secretName: {name}-identity, defaultMode: 0440}}
        - name: tmp
          emptyDir: {{sizeLimit: 16Mi}}
  volumeClaimTemplates:
    # Two volumes: the record in the one tells that the other has been put back to an older state.
    - metadata: {{name: identity}}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {{requests: {{storage: 64Mi}}}}
    - metadata: {{name: data}}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {{requests: {{storage: 8Gi}}}}
"""

_LOCKED: Final = "allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}"

_COPY: Final = (
    "umask 077 && mkdir -p /identity/server && chmod u=rwx,go=,g-s /identity/server && cd /secret && "
    'for file in *.pem; do [ -e "/identity/server/$file" ] || install -m 600 "$file" "/identity/server/$file"; done'
)


def files(configuration: Configuration, objects: Sequence[str]) -> dict[str, str]:
    """Manifests for all servers, a kustomization that makes the secrets from the identities, and the image recipe.

    Raises:
        ConfigurationError: an address is not the name of a Service, or they are in several namespaces.
    """
    namespace, names = places_of([server.host for server in configuration.servers])
    made = {
        f"deploy/{name}.yaml": _server(server, name, namespace, objects)
        for server, name in zip(configuration.servers, names, strict=True)
    }
    ports = ", ".join(f"{{protocol: TCP, port: {port}}}" for port in sorted({s.port for s in configuration.servers}))
    secrets = [_GENERATED.format(name=name, index=index) for index, name in enumerate(names)]
    return {
        KUSTOMIZATION_PATH: _KUSTOMIZATION.format(
            cluster=configuration.cluster_id.hex(),
            namespace=namespace,
            resources="\n".join(f"  - {path}" for path in made),
            secrets="".join(secrets),
        ),
        "deploy/common.yaml": _COMMON.format(
            t=configuration.quorums.t, namespace=namespace, ports=ports, metrics=METRICS_PORT
        ),
        **made,
        RECIPE_PATH: recipe(objects),
    }


def places_of(hosts: Sequence[str]) -> tuple[str, list[str]]:
    """Namespace and names of the Services at these hosts.

    Raises:
        ConfigurationError: one is not the name of a Service, two are the same, or they are in several namespaces.
    """
    places = [_place(host) for host in hosts]
    names = [name for name, _ in places]
    if len({namespace for _, namespace in places}) != 1 or len(set(names)) != len(names):
        raise ConfigurationError(
            "on Kubernetes all servers are Services of one namespace, each under its own name: give their addresses as "
            "fivefold-0.NAMESPACE.svc:7000"
        )
    return places[0][1], names


def _place(host: str) -> tuple[str, str]:
    found = _HOST.fullmatch(host)
    name, namespace = (found[1], found[2] or NAMESPACE) if found else ("", "")
    if not _LABEL.fullmatch(name) or not _LABEL.fullmatch(namespace):
        raise ConfigurationError(
            f"{host} is not the name of a Service on Kubernetes: write the server's address as "
            "fivefold-0.NAMESPACE.svc:7000"
        )
    return name, namespace


def _server(server: ServerEntry, name: str, namespace: str, objects: Sequence[str]) -> str:
    arguments = [
        *("serve", "--cluster", "/cluster/cluster.toml", "--identity", "/identity/server", "--data", "/data/server"),
        *("--listen", f"0.0.0.0:{server.port}", "--metrics", f"0.0.0.0:{METRICS_PORT}", "--log-json"),
        *object_options(objects),
    ]
    return _SERVER.format(
        name=name,
        namespace=namespace,
        index=server.index,
        port=server.port,
        metrics=METRICS_PORT,
        user=USER,
        locked=_LOCKED,
        copy=json.dumps(_COPY),
        arguments=json.dumps(arguments),
    )
