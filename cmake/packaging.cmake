# Install rules live beside the targets; this file makes the Debian package out of them (cpack -G DEB).
include(GNUInstallDirs)
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # packaging needs the program alone, not every test
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME bitmill)
set(CPACK_PACKAGE_CONTACT "Bitmill maintainers <maintainers@bitmill.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Inference server for binary models over gRPC")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_STRIP_FILES ON)
include(CPack)
