/* The few thread primitives that the pool needs, on POSIX and on Windows. */
#ifndef PB_THREADS_H
#define PB_THREADS_H

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef CRITICAL_SECTION pb_mutex;
typedef CONDITION_VARIABLE pb_cond;
#define pb_mutex_init(m) InitializeCriticalSection(m)
#define pb_mutex_lock(m) EnterCriticalSection(m)
#define pb_mutex_unlock(m) LeaveCriticalSection(m)
#define pb_cond_init(c) InitializeConditionVariable(c)
#define pb_cond_wait(c, m) SleepConditionVariableCS(c, m, INFINITE)
#define pb_cond_broadcast(c) WakeAllConditionVariable(c)
#define pb_yield() SwitchToThread()

static inline int pb_cores(void) {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return (int)info.dwNumberOfProcessors;
}

static inline int pb_thread_start(DWORD (*body)(void *), void *arg) {
  HANDLE h = CreateThread(NULL, 0, (LPTHREAD_START_ROUTINE)body, arg, 0, NULL);
  if (!h) return -1;
  CloseHandle(h);
  return 0;
}
#define PB_THREAD_BODY(name) static DWORD name(void *arg)
#define PB_THREAD_END return 0

static inline double pb_now(void) {
  LARGE_INTEGER t, f;
  QueryPerformanceCounter(&t), QueryPerformanceFrequency(&f);
  return (double)t.QuadPart / (double)f.QuadPart;
}

#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

typedef pthread_mutex_t pb_mutex;
typedef pthread_cond_t pb_cond;
#define pb_mutex_init(m) pthread_mutex_init(m, NULL)
#define pb_mutex_lock(m) pthread_mutex_lock(m)
#define pb_mutex_unlock(m) pthread_mutex_unlock(m)
#define pb_cond_init(c) pthread_cond_init(c, NULL)
#define pb_cond_wait(c, m) pthread_cond_wait(c, m)
#define pb_cond_broadcast(c) pthread_cond_broadcast(c)
#define pb_yield() sched_yield()

static inline int pb_cores(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }

/* Workers take no signals: Ctrl-C belongs to the interpreter's thread. */
static inline int pb_thread_start(void *(*body)(void *), void *arg) {
  pthread_t t;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int status = pthread_create(&t, NULL, body, arg);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (status == 0) pthread_detach(t);
  return status;
}
#define PB_THREAD_BODY(name) static void *name(void *arg)
#define PB_THREAD_END return NULL

static inline double pb_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define pb_pause() _mm_pause()
#elif defined(__aarch64__) && defined(__GNUC__)
#define pb_pause() __asm__ __volatile__("yield")
#else
#define pb_pause() ((void)0)
#endif

#endif
