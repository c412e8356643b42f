/**
 * Preloaded (`node --import`) into a Node process that is to end when its parent dies, however that dies: the parent
 * holds the other end of the pipe MILLRACE_LIFELINE_FD, which the system closes with it. Then this process is asked to
 * end as by SIGTERM, and ended if it does not.
 */
import { Socket } from "node:net";

const descriptor = Number(process.env.MILLRACE_LIFELINE_FD);
delete process.env.MILLRACE_LIFELINE_FD; // the children of this process have no such pipe
if (descriptor > 2) follow(descriptor);

function follow(fd) {
  let lifeline;
  try {
    lifeline = new Socket({ fd, readable: true, writable: false });
  } catch {
    return; // no such pipe: started by hand, with the variable left over
  }
  const orphaned = () => {
    lifeline.destroy();
    // The supervisor stops its services in order; that takes up to half a minute.
    setTimeout(() => process.kill(process.pid, "SIGKILL"), 45_000).unref();
    process.kill(process.pid, "SIGTERM");
  };
  lifeline.once("end", orphaned);
  lifeline.once("error", orphaned);
  lifeline.resume();
  lifeline.unref();
}
