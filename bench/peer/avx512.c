/* avx512.c - preloaded by compare.py: PyTorch's matrix library (MKL) takes its AVX-512 kernels only
 * where this function says that the processor is Intel's, and runs at less than half the speed on
 * others that have AVX-512 too. */
int mkl_serv_intel_cpu_true(void);

int mkl_serv_intel_cpu_true(void)
{
    return 1;
}
