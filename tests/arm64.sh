#!/usr/bin/env bash
# The kernels cross-compiled for arm64, and their tests run under qemu's emulation of a user's process: `make test-arm64`, on Debian.
# Python and its libraries come from Debian's packages, NumPy and SciPy from their wheels; nothing is installed, all of it lies in
# build/arm64. Emulation is some 20 times slower than a processor, so that without names of tests some hundred are run: whole numbers, equal
# to the bit, and gradients and steps within their bounds, of every kind of layer, loop and loss, in both precisions.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1; shift
here=$PWD/build/arm64
for needed in qemu-aarch64-static aarch64-linux-gnu-gcc dpkg; do
    command -v $needed >/dev/null || { echo "$needed is missing: apt-get install qemu-user-static gcc-aarch64-linux-gnu"; exit 1; }
done
dpkg --print-foreign-architectures | grep -q arm64 || { echo "Debian's packages for arm64 are not listed: dpkg --add-architecture arm64 && apt-get update"; exit 1; }

version=$(apt-cache show python3-minimal | sed -n 's/^Version: \([0-9]*\.[0-9]*\)\..*/\1/p' | head -1)
if [ ! -e "$here/libraries.done" ]; then
    rm -rf "$here" && mkdir -p "$here/packages" "$here/root"
    packages=(python$version-minimal libpython$version-minimal libpython$version-stdlib libpython$version-dev libpython$version
        libc6 libgcc-s1 libgomp1 libstdc++6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libcrypt1)
    (cd "$here/packages" && apt-get download -q "${packages[@]/%/:arm64}")
    for package in "$here"/packages/*.deb; do dpkg -x "$package" "$here/root"; done
    "$python" -m pip install --quiet --target "$here/site" --python-version "$version" --implementation cp --only-binary :all: \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        numpy scipy threadpoolctl pytest hypothesis
    touch "$here/libraries.done"
fi

# C by this machine's Cython, which any command of setup.py runs; objects by the cross compiler
"$python" setup.py --quiet --version
mkdir -p "$here/package" && rm -rf "$here/package/linalign" && cp -r src/linalign "$here/package" && rm -f "$here"/package/linalign/_kernels/*.so
for source in build/cython/kernels/*.c; do
    name=$(basename "$source" .c)
    # the flags of setup.py
    aarch64-linux-gnu-gcc -shared -fPIC -O3 -DNDEBUG -DLA_DEBUG=0 -DLA_NATIVE=0 -fwrapv -std=gnu11 -ffp-contract=fast -fno-math-errno -fopenmp \
        -w -I"$here/root/usr/include/python$version" -I"$here/root/usr/include" -Ikernels/include \
        -o "$here/package/linalign/_kernels/$name.cpython-${version/./}-aarch64-linux-gnu.so" "$source" &
    [ "$(jobs -r | wc -l)" -lt "$(nproc)" ] || wait -n
done
wait
some="not mixed and not of_the_reference and (
    test_integer_gradients or test_integer_steps or products_of_integers
    or (gradients_of_every_shape or gradients_of_every_loss or diagonal_data or steps_of_every_update and deep) and neon
    or a_chain or stay_the_same_to_the_bit or stop_where_they_should
    or gradients_of_every_layer and alone or a_restored_engine
    or compute_what_each_computes_alone or test_one_row or test_tiles
    or test_lanes and gradients_and_losses or test_modes and against_the_recursion
    or test_stripes and neon or in_registers and adam
    or every_pivot_and_instruction_set and 33 or test_projections
    or products_are_their_twin and (squared or logistic) or steps_in_the_kernel_are_scipys)"
[ $# -gt 0 ] || set -- tests/engine/test_{chain,structured,instruction_sets,one_row,tiles,lanes,modes,stripes,rules}.py tests/kernels \
    tests/curvature/test_pivots.py tests/training/test_flow.py -k "${some//$'\n'/ }"
# a product of single precision by OpenBLAS leaves flags of a division by zero behind, of lanes that hold no number, which NumPy reports
OPENBLAS_NUM_THREADS=1 PYTHONPATH="$here/package:$here/site" \
    qemu-aarch64-static -L "$here/root" "$here/root/usr/bin/python$version" -m pytest -q -p no:cacheprovider -o addopts=--strict-markers \
    -W "ignore:divide by zero encountered in matmul:RuntimeWarning" -W "ignore:overflow encountered in matmul:RuntimeWarning" \
    -W "ignore:invalid value encountered in matmul:RuntimeWarning" "$@"
