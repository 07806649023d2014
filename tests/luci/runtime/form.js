'use strict';
/* form.Map with the sections and options that the views use: what is empty is not written, what did not change neither. */

const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

const FormMap = Class.extend({
	__init__(config, title, description) {
		Object.assign(this, { config, title, description, children: [], data: modules.uci });
	},

	section(type, ...values) {
		const section = new type(this, ...values);

		this.children.push(section);

		return section;
	},

	load() {
		return this.data.load(this.config).then(() => Promise.all(this.children.map(child => child.load())));
	},

	render() {
		return this.load().then(() => this.draw());
	},

	async draw() {
		const nodes = await Promise.all(this.children.map(child => child.render()));

		this.root = this.root || E('div', { class: 'cbi-map', 'widget-change': () => this.checkDepends() });
		dom.bindClassInstance(this.root, this);
		dom.content(this.root, [ this.title ? E('h2', [ this.title ]) : null,
			this.description ? E('div', { class: 'cbi-map-descr' }, [ this.description ]) : null, nodes ]);
		this.checkDepends();

		return this.root;
	},

	checkDepends() {
		for (let turn = 0; turn < 10 && this.children.some(child => child.checkDepends()); turn++);
	},

	async save(then, silent) {
		try {
			this.checkDepends();
			for (const child of this.children)
				await child.parse();
			await (then ? then() : null);
			await this.data.save();
			await this.load();
		}
		catch (error) {
			if (!silent)
				modules.ui.showModal('Save error', [ E('p', [ error.message ]),
					E('button', { class: 'cbi-button', click: modules.ui.hideModal }, [ 'Dismiss' ]) ]);
			throw error;
		}
		await this.draw();
	},

	reset() {
		return this.draw();
	}
});

const AbstractSection = Class.extend({
	__init__(map, sectiontype, title, description) {
		Object.assign(this, { map, config: map.config, sectiontype, title, description, children: [], tabs: [] });
	},

	cfgsections() {
		return this.map.data.sections(this.config, this.sectiontype).map(one => one['.name']);
	},

	tab(name, title) {
		this.tabs.push({ name, title });
	},

	option(type, ...values) {
		const option = new type(this.map, this, ...values);

		this.children.push(option);

		return option;
	},

	taboption(tab, ...values) {
		return Object.assign(this.option(...values), { tab });
	},

	load() {
		return Promise.all(this.cfgsections().flatMap(section => this.children.map(async child => {
			child.cfgvalue(section, await child.load(section));
		})));
	},

	async parse() {
		for (const section of this.cfgsections())
			for (const child of this.children)
				await child.parse(section);
	},

	checkDepends() {
		return this.cfgsections().flatMap(section => this.children.map(child => child.checkDepends(section))).some(Boolean);
	},

	options(section) {
		if (!this.tabs.length)
			return this.children.map(child => child.render(section));

		const panes = this.tabs.map((tab, place) => E('div', { class: 'tabpane', 'data-tab': tab.name, hidden: place ? '' : null },
			this.children.filter(child => child.tab === tab.name).map(child => child.render(section))));
		const menu = E('ul', { class: 'cbi-tabmenu' }, this.tabs.map((tab, place) => E('li', { class: place ? 'cbi-tab-disabled' : 'cbi-tab' },
			[ E('a', { href: '#', click: event => {
				event.preventDefault();
				panes.forEach((pane, other) => { pane.hidden = other !== place });
				menu.childNodes.forEach((item, other) => { item.className = other === place ? 'cbi-tab' : 'cbi-tab-disabled' });
			} }, [ tab.title ]) ])));

		return [ menu, panes ];
	},

	frame(...nodes) {
		return E('div', { class: 'cbi-section', id: 'cbi-%s-%s'.format(this.config, this.sectiontype) }, [
			this.title ? E('h3', [ this.title ]) : null,
			this.description ? E('div', { class: 'cbi-section-descr' }, [ this.description ]) : null, nodes ]);
	}
});

const TypedSection = AbstractSection.extend({
	render() {
		return this.frame(this.cfgsections().map(section =>
			E('div', { class: 'cbi-section-node', 'data-section-id': section }, this.options(section))));
	}
});

/* One section of a name, as it is in a window. */
const NamedSection = AbstractSection.extend({
	__init__(map, section, sectiontype) {
		this.super('__init__', [ map, sectiontype ]);
		this.section = section;
	},

	cfgsections() {
		return [ this.section ];
	},

	render() {
		return E('div', { class: 'cbi-section-node' }, this.options(this.section));
	}
});

const GridSection = AbstractSection.extend({
	render() {
		const shown = this.children.filter(child => !child.modalonly);
		const titles = [ 'Name', ...shown.map(child => child.title), '' ];
		const rows = this.cfgsections().map(section => E('tr', { class: 'tr cbi-section-table-row', 'data-section-id': section }, [
			E('td', { class: 'td cbi-section-table-cell', 'data-title': 'Name' }, [ E('strong', [ section ]) ]),
			...shown.map(child => E('td', { class: 'td cbi-value-field', 'data-title': child.title, 'data-name': child.option },
				child.editable ? child.widget(section) : child.textvalue(section) ?? E('em', [ 'none' ]))),
			E('td', { class: 'td cbi-section-actions' }, [
				this.button('Edit', 'edit', () => this.renderMoreOptionsModal(section)), ' ',
				this.button('Delete', 'remove', () => this.handleRemove(section)) ]) ]));

		return this.frame(E('table', { class: 'table cbi-section-table' }, [
			E('tr', { class: 'tr table-titles' }, titles.map(title => E('th', { class: 'th' }, [ title ]))),
			rows.length ? rows : E('tr', { class: 'tr placeholder' }, [ E('td', { class: 'td', colspan: titles.length },
				[ E('em', [ 'This section contains no values yet' ]) ]) ]) ]), this.adding());
	},

	button(title, style, click) {
		return E('button', { class: 'btn cbi-button cbi-button-' + style, title,
			click: modules.ui.createHandlerFn(this, click) }, [ title ]);
	},

	adding() {
		const name = E('input', { type: 'text', class: 'cbi-section-create-name' });

		return E('div', { class: 'cbi-section-create' }, [ name, ' ', this.button(this.addbtntitle || 'Add', 'add', event =>
			name.value === '' || checkType('uciname', name.value) !== true ? name.classList.add('cbi-input-invalid')
				: this.handleAdd(event, name.value)) ]);
	},

	handleAdd(event, name) {
		const section = this.map.data.add(this.config, this.sectiontype, name);

		this.addedSection = section;

		return this.renderMoreOptionsModal(section);
	},

	handleRemove(section) {
		this.map.data.remove(this.config, section);

		return this.map.save(null, true);
	},

	/* The options again, each an object of its own with what was set on the first. */
	async renderMoreOptionsModal(section) {
		const map = new FormMap(this.config);
		const one = map.section(NamedSection, section, this.sectiontype);

		this.children.filter(child => child.modalonly !== false).forEach(child => {
			const own = one.option(child.constructor, child.option, child.title, child.description);

			Object.assign(own, Object.fromEntries(Object.entries(child).filter(([ key ]) =>
				![ 'map', 'section', 'option', 'title', 'description' ].includes(key))));
		});
		modules.ui.showModal(this.modaltitle ? this.modaltitle(section) : section, [ await map.render(),
			E('div', { class: 'right' }, [
				E('button', { class: 'btn', click: () => this.handleModalCancel() }, [ 'Dismiss' ]), ' ',
				this.button('Save', 'positive', () => this.handleModalSave(map)) ]) ], 'cbi-modal');
	},

	handleModalCancel() {
		if (this.addedSection)
			this.map.data.remove(this.config, this.addedSection);
		this.addedSection = null;
		modules.ui.hideModal();
	},

	handleModalSave(map) {
		return map.save(null, true).then(() => {
			this.addedSection = null;
			modules.ui.hideModal();

			return this.map.load();
		}, () => null).then(() => this.map.reset());
	},

	async parse() {
		for (const section of this.cfgsections())
			for (const child of this.children)
				if (child.editable && !child.modalonly)
					await child.parse(section);
	}
});

modules.form = { Map: FormMap, TypedSection, NamedSection, GridSection };
