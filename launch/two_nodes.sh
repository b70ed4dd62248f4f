#!/bin/sh
# Two machines of eight GPUs each: run this on both, with the address of the first one.
#   launch/two_nodes.sh 0 10.0.0.1 --preset paper --data photos/ --output /shared/run     (on the first)
#   launch/two_nodes.sh 1 10.0.0.1 --preset paper --data photos/ --output /shared/run     (on the second)
# --output has to be a folder that both machines see. GPUS and PORT may be set beforehand.
set -eu
if [ "$#" -lt 2 ]; then
    echo "usage: $0 RANK ADDRESS [options of repic train]" >&2
    exit 2
fi
rank=$1 address=$2
shift 2
exec torchrun --nnodes 2 --node_rank "$rank" --nproc_per_node "${GPUS:-8}" \
    --master_addr "$address" --master_port "${PORT:-29500}" \
    -m repic_cli train --set train.per_device_batch_size=8 --set train.gradient_accumulation=1 "$@"
