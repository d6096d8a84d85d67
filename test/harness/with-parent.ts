/** Servers of tests that do not end by themselves when a test run is killed. */

/**
 * The command line of a program that the kernel kills when the process that starts it is gone, however that came about: it is that
 * process's child, by its own process id. Only on Linux; elsewhere the program as it is.
 */
export function withParent(program: string, args: readonly string[]): [string, string[]] {
  if (process.platform !== "linux") return [program, [...args]];
  // A parent that died before this was set leaves nobody who could tell of it.
  return ["setpriv", ["--pdeathsig", "KILL", "--", program, ...args]];
}
