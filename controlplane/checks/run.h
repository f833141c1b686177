// One run of a program, in a process of the helper's that does nothing else: it may wait.
#pragma once

namespace linimo {

/// Serves one connection (words.h) until the program has ended or the other side has gone; whatever is left
/// of the program's process group then is killed. The calling process has given up its rights before.
void serve_check(int connection);

}  // namespace linimo
