# Everything comes from the distribution's packages; script/setup installs them.
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # the FindProtobuf module, and before gRPC: Debian ships no config file
find_package(absl CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(ZLIB REQUIRED)
if(BITMILL_SERVER)
  find_package(gRPC CONFIG REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED)
  find_package(TBB CONFIG REQUIRED)
  find_package(dnnl CONFIG REQUIRED)
  find_package(CLI11 CONFIG REQUIRED)
  find_package(PNG REQUIRED)
endif()

# The ONNX message definitions, as installed by libonnx-dev; the code is generated in the build tree.
find_path(BITMILL_ONNX_PROTO_DIR onnx/onnx.proto REQUIRED)
