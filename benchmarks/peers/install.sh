#!/usr/bin/env bash
# Fetches the peers into benchmarks/peers/.installed, from Debian's and PyPI's packages; nothing is installed or started
# on the machine itself. ZooKeeper needs a Java runtime (Debian: default-jre-headless).
#
#   benchmarks/peers/install.sh [PYTHON]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${1:-python3}
mkdir -p .installed/debian .installed/packages

# What ZooKeeper's server needs of the packages that libzookeeper-java depends on, directly or not.
packages=(etcd-server libzookeeper-java libnetty-java libslf4j-java liblog4j1.2-java libdropwizard-metrics-java
    libcommons-cli-java libcommons-io-java libsnappy-java libsnappy-jni libjackson2-core-java libjackson2-databind-java
    libjackson2-annotations-java libjetty9-java libservlet-api-java)
(cd .installed/packages && apt-get download -qq "${packages[@]}")
for package in .installed/packages/*.deb; do
    dpkg-deb --extract "$package" .installed/debian
done
"$python" -m pip install --quiet --upgrade --target .installed/python --requirement requirements.txt
.installed/debian/usr/bin/etcd --version | head -1
