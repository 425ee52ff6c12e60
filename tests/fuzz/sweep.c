/* A sweep file of anybody's: refused with a reason, or planned. */
#include "core/base/log.h"
#include "runner/plan/plan.h"
#include "tests/fuzz/fuzz.h"

/* Larger plans are no other code. */
enum { MOST_CELLS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int ready;
    struct hy_sweep sweep;
    struct hy_plan plan;
    struct hy_err e = {0};
    if (!ready++)
        fuzz_silence();
    int rc = hy_sweep_load(fuzz_file(data, size), NULL, 0, &sweep, &e);
    if (!rc) {
        if (sweep.cell_count <= MOST_CELLS && !(rc = hy_plan_make(&sweep, &plan, &e)))
            hy_plan_release(&plan);
        hy_sweep_release(&sweep);
    }
    fuzz_require(rc == HY_OK || e.text[0], "an error says what is wrong");
    return 0;
}
