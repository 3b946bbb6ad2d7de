// A library that is called like the management library, and is something else.
extern "C" int nvmlInit_v2() { return 0; }
