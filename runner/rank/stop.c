#include "runner/rank/stop.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

volatile int hy_stop_signals;

static unsigned limit;

static void on_signal(int number)
{
    if (!hy_stop_signals && limit)
        alarm(limit);
    /* mpirun follows a Ctrl-C with SIGTERM: only a person's second one means "at once". */
    if (!hy_stop_signals || number == SIGINT)
        hy_stop_signals = hy_stop_signals + 1;
}

void hy_stop_install(unsigned seconds)
{
    /* Kernels that oneDNN compiles use the stack pointer for data: a handler on the stack would
     * write its frame into the heap. */
    static char stack[64 << 10];
    const stack_t apart = {.ss_sp = stack, .ss_size = sizeof stack};
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};
    struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaltstack(&apart, NULL);
    limit = seconds;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* nohup's SIGHUP stays ignored. */
        if (!sigaction(numbers[i], NULL, &old) && old.sa_handler == SIG_IGN && numbers[i] == SIGHUP)
            continue;
        sigaction(numbers[i], &action, NULL);
    }
    action = (struct sigaction){.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &action, NULL);
}
