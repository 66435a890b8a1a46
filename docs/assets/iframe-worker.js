// Browsers refuse workers to pages that are opened from the disk. There the search works in a
// hidden frame instead. (Zensical would fetch such a shim from another host; it looks for this
// file's name before it does.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #waiting = [];

    constructor(url) {
      super();
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => this.#tell(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.src = url;
      script.onload = () => {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting.forEach((data) => this.#hand(data));
      };
      script.onerror = () => this.#tell(new Event("error"));
      inside.document.body.append(script);
    }

    postMessage(data) {
      if (this.#waiting) this.#waiting.push(data);
      else this.#hand(data);
    }

    terminate() {
      this.#frame.remove();
    }

    #hand(data) {
      const inside = this.#frame.contentWindow;
      if (inside) setTimeout(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }

    #tell(event) {
      setTimeout(() => {
        this.dispatchEvent(event);
        this[`on${event.type}`]?.(event);
      });
    }
  };
}
