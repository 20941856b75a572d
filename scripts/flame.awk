# Draws a flame graph, as SVG, of what `perf script -F comm,ip,sym --no-inline` prints. Variables: title, and optionally width (1200).
# A frame is as wide as its share of the samples; those that call stand below those they call. Names are shown by the pointer.
# Frames of less than a thousandth of all samples are left out, which keeps a picture small.

# A sample begins with the thread's name, and ends with an empty line; its frames come from the innermost on.
/^[^ \t]/ { thread = $1; sub(/[-:0-9]+$/, "", thread); depth = 0; next }
/^[ \t]+[0-9a-f]/ { names[++depth] = name_of($0); next }
/^$/ { if (thread != "") count_sample(); thread = ""; next }
END { if (thread != "") count_sample(); draw() }

function name_of(line,    name) {
  if (line in known) return known[line]
  name = line
  sub(/^[ \t]+[0-9a-f]+[ \t]+/, "", name)
  sub(/\+0x[0-9a-f]+$/, "", name)
  # What compilers add to names: hashes, crates' hashes, the types of generics, and that it is a closure.
  sub(/::h[0-9a-f]+$/, "", name)
  gsub(/\[[0-9a-f]+\]/, "", name)
  name = without_generics(name)
  gsub(/::\{\{closure\}\}|::\{closure#[0-9]+\}/, "", name)
  gsub(/::(::)+/, "::", name)
  gsub(/&/, "", name)
  gsub(/["<>]/, "", name)
  return known[line] = name == "" ? "[unknown]" : name
}
# `<T<U> as Trait>::call<V>` becomes `T::call`.
function without_generics(name,    at, letter, depth, inside, out) {
  inside = substr(name, 1, 1) == "<"
  for (at = 1; at <= length(name); at++) {
    letter = substr(name, at, 1)
    if (letter == "<") depth++
    else if (letter == ">" && depth > 0) {
      depth--
      if (depth == 0 && inside) {
        inside = 0
        sub(/ as .*/, "", out)
      }
    } else if (depth <= inside) out = out letter
  }
  return out
}

# Every frame is known by the path of names that leads to it.
function count_sample(    at, path, before) {
  samples++
  path = thread
  add("", path, thread, 0)
  for (at = depth; at >= 1; at--) {
    # A function and its closures, one right below the other, are one frame.
    if (names[at] == names[at + 1] && at < depth) continue
    before = path
    path = path ";" names[at]
    add(before, path, names[at], levels[before] + 1)
  }
}
function add(parent, path, name, level) {
  if (!(path in counts)) {
    label[path] = name
    levels[path] = level
    children[parent] = children[parent] (children[parent] == "" ? "" : "\n") path
  }
  counts[path]++
}

function draw(    deepest, path, height) {
  if (!width) width = 1200
  row = 17
  least = samples / 1000
  for (path in counts) if (counts[path] >= least && levels[path] > deepest) deepest = levels[path]
  height = (deepest + 1) * row + 48
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"monospace\" font-size=\"11\">\n", width, height, width, height
  printf "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"8\" y=\"20\" font-size=\"15\" font-family=\"sans-serif\" font-weight=\"bold\">%s</text>\n", title
  printf "<text x=\"%d\" y=\"20\" text-anchor=\"end\" font-family=\"sans-serif\">%d samples</text>\n", width - 8, samples
  floor = height - row - 8
  draw_children("", 0)
  print "</svg>"
}
function draw_children(parent, from,    list, count, at, path) {
  count = split(children[parent], list, "\n")
  sort(list, count)
  for (at = 1; at <= count; at++) {
    path = list[at]
    if (counts[path] >= least) {
      draw_frame(path, from)
      draw_children(path, from)
    }
    from += counts[path]
  }
}
function draw_frame(path, from,    x, y, w, shown, letters) {
  x = from / samples * width
  w = counts[path] / samples * width
  y = floor - levels[path] * row
  letters = int((w - 4) / 6.7)
  shown = label[path]
  # The end of a Rust path says what it is.
  if (length(shown) > letters && match(shown, /[^:]*(::[^:]*)?$/)) shown = substr(shown, RSTART)
  if (length(shown) > letters) shown = letters < 3 ? "" : substr(shown, 1, letters - 1) "…"
  printf "<g><title>%s, %.1f %%</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\" stroke=\"#ffffff\" stroke-width=\"0.5\"/>", substr(label[path], 1, 120), 100 * counts[path] / samples, x, y, w, row - 1, colour(label[path], levels[path])
  if (shown != "") printf "<text x=\"%.1f\" y=\"%d\">%s</text>", x + 2, y + 12, shown
  print "</g>"
}
# Blue for what is ours, orange for what is of libraries, and grey for the kernel and for what has no path.
function colour(name, level) {
  if (level == 0) return "#c9c9c9"
  if (name ~ /(^|[^a-z])(wire|remoting|settings|store|nameserver|broker|thrust)::/) return "#9ec5e8"
  return name ~ /::/ ? "#f3c9a5" : "#dcdcdc"
}
# By name, so that two pictures of the same work look alike.
function sort(list, count,    one, other, path) {
  for (one = 2; one <= count; one++) {
    path = list[one]
    for (other = one - 1; other >= 1 && list[other] > path; other--) list[other + 1] = list[other]
    list[other + 1] = path
  }
}
