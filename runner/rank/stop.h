/* stop.h - signals that ask a program to stop: SIGINT, SIGTERM, SIGUSR1 (a scheduler's warning) and
 * SIGHUP. They are counted; the one who does the work looks and leaves cleanly. */
#ifndef HY_RUNNER_RANK_STOP_H
#define HY_RUNNER_RANK_STOP_H

/* 0: go on; 1: stop; 2 and more: at once (a further SIGINT). */
extern volatile int hy_stop_signals;

/* Installs the handlers, which run on a stack of their own, and ignores SIGPIPE. Process-wide;
 * once, by a command, in the main thread; threads that train block signals. seconds: how long the
 * process may live after the first signal, for one that nobody may be left to kill; 0: as it likes.
 */
void hy_stop_install(unsigned seconds);

#endif
