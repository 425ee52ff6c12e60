/* program.h - hylas as a function: its main(), under another name. */
#ifndef HY_TESTS_INJECT_PROGRAM_H
#define HY_TESTS_INJECT_PROGRAM_H

int hylas_main(int argc, char **argv);

#endif
