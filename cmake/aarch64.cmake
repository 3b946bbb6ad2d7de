# Debian's cross toolchain. Libraries are the arm64 packages, installed beside the native ones after
# `dpkg --add-architecture arm64`: libabsl-dev libspdlog-dev libfmt-dev libprotobuf-dev zlib1g-dev
# libgtest-dev libgmock-dev. They bring libc6:arm64, whose loader qemu finds where programs ask for
# it; the compiler of protobuf is the native one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
