#!/usr/bin/env bash
# From nothing to Canari on Minikube: a cluster that enforces NetworkPolicies, Envoy Gateway, the images, the chart.
# Run it again after a change: what is there stays, images and chart are brought up to date.
#   PROFILE=canari  the Minikube profile        NAMESPACE=canari  where Canari is installed
#   CPUS=4 MEMORY=8g  what the node gets        VALUES=file       more values for the chart
set -euo pipefail
cd "$(dirname "$0")/.."

PROFILE=${PROFILE:-canari} NAMESPACE=${NAMESPACE:-canari} CPUS=${CPUS:-4} MEMORY=${MEMORY:-8g}
# The version that is tested.
ENVOY_GATEWAY=${ENVOY_GATEWAY:-v1.9.1}

for program in minikube kubectl helm make; do
  command -v "$program" >/dev/null || { echo "$program is not on the path: install it first." >&2; exit 1; }
done
kubectl="kubectl --context $PROFILE" helm="helm --kube-context $PROFILE"

if ! minikube status --profile "$PROFILE" >/dev/null 2>&1; then
  # Minikube's own network lets everything pass: Calico enforces what the chart's NetworkPolicies say.
  minikube start --profile "$PROFILE" --cpus "$CPUS" --memory "$MEMORY" --cni calico --addons metrics-server
fi

$kubectl apply --server-side --force-conflicts --filename \
  "https://github.com/envoyproxy/gateway/releases/download/$ENVOY_GATEWAY/install.yaml"
$kubectl rollout status deployment/envoy-gateway --namespace envoy-gateway-system --timeout 5m
# Minikube has no load balancer unless `minikube tunnel` runs: the gateway answers on a port of the node.
$kubectl apply --filename - <<YAML
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: node, namespace: envoy-gateway-system}
spec: {provider: {type: Kubernetes, kubernetes: {envoyService: {type: NodePort}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: node, namespace: envoy-gateway-system}
YAML
$kubectl wait --for=condition=Accepted gatewayclass/eg --timeout=60s

images="runtime platform trainer lineage"
make images IMAGES="$images"
for image in $(make --silent image-names IMAGES="$images"); do
  minikube image load --profile "$PROFILE" "$image"
done

$helm upgrade --install canari helm/canari --namespace "$NAMESPACE" --create-namespace \
  --values helm/canari/values-minikube.yaml ${VALUES:+--values "$VALUES"} --wait --timeout 15m
$helm test canari --namespace "$NAMESPACE" --timeout 5m

service=$($kubectl get service --namespace envoy-gateway-system --output name \
  --selector "gateway.envoyproxy.io/owning-gateway-name=canari,gateway.envoyproxy.io/owning-gateway-namespace=$NAMESPACE")
port=$($kubectl get --namespace envoy-gateway-system "$service" --output jsonpath='{.spec.ports[0].nodePort}')
echo
echo "Canari answers on http://$(minikube ip --profile "$PROFILE"):$port/"
echo "Where that address cannot be reached (Docker Desktop), this makes one that can, as long as it runs:"
echo "  minikube service --profile $PROFILE --namespace envoy-gateway-system ${service#service/} --url"
