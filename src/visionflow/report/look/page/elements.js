// Elements of the document; the app, too, has these.
const $ = (id) => document.getElementById(id);
function make(tag, options = {}, ...children) {
  const node = Object.assign(document.createElement(tag), options);
  node.append(...children);
  return node;
}
