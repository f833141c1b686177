// fmt's own header, and that its largest template is in the library already. fmt 9 leaves out that word, so
// that every source that formats or logs compiles all of formatting again, floating point and all: more than
// half of its time.
#pragma once
#pragma GCC system_header  // which alone may say #include_next

#include_next <fmt/format.h>

namespace fmt {
inline namespace v9 {
namespace detail {

extern template void vformat_to<char>(buffer<char>&, string_view, basic_format_args<FMT_BUFFER_CONTEXT(char)>,
                                      locale_ref);

}  // namespace detail
}  // namespace v9
}  // namespace fmt
