// Files that a person drops or chooses, with the folders that they are in.

/** What was dropped as [{file, path}]. Must be called while the drop event is handled. */
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length) return Promise.all(entries.map((entry) => walk(entry, ""))).then((found) => found.flat());
  return Promise.resolve([...transfer.files].map((file) => ({ file, path: file.name })));
}

/** What was chosen in an <input type="file">. */
export function chosen(input) {
  return [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

async function walk(entry, folder) {
  const path = folder + entry.name;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path }];
  }
  const reader = entry.createReader();
  const found = [];
  // A folder tells a hundred of its entries at a time, and nothing at its end.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found.flat();
    found.push(...(await Promise.all(some.map((one) => walk(one, `${path}/`)))));
  }
}
