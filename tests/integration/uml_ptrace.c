/* Lets Debian 12's user-mode Linux run on processors with AMX.

   Such a processor has more register state than user-mode Linux 6.1 sets aside. Reading is cut off by the host, but it
   refuses to write less than all (EFAULT): "ptrace set fp regs failed, errno = 14". So read all, replace the part that
   user-mode Linux knows, write all. Loaded with LD_PRELOAD by test_power_loss.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

long ptrace(int request, ...)
{
    va_list list;
    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *address = va_arg(list, void *), *data = va_arg(list, void *);
    va_end(list);
    if (request >= 1 && request <= 3) {
        long word;
        long failed = syscall(SYS_ptrace, request, pid, address, &word);
        return failed < 0 ? failed : (errno = 0, word);
    }
    long result = syscall(SYS_ptrace, request, pid, address, data);
    if (result == 0 || request != 0x4205 || address != (void *)0x202 || errno != EFAULT)
        return result;
    static char whole[65536];
    struct iovec *given = data, all = {whole, sizeof whole};
    if (syscall(SYS_ptrace, 0x4204, pid, address, &all) < 0 || given->iov_len > all.iov_len)
        return -1;
    memcpy(whole, given->iov_base, given->iov_len);
    return syscall(SYS_ptrace, request, pid, address, &all);
}
