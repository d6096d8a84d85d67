/**
 * True while a process of this machine (and of our own container) has this number. One that belongs to somebody else
 * is alive too, though we may not send it anything.
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
